# Two commands do all the set-up: `make demo` and `make test`. Everything lives in .venv, .venv-export and .venv-bridges.
PYTHON ?= python3
PIP := -m pip --disable-pip-version-check install --quiet
BIN := .venv/bin
EXPORT := .venv-export/bin
BRIDGES := .venv-bridges/bin
OUT := out/demo
BENCHES := sample paf cmu cifcaf heavy export_speed nano infer startup
COMPILED := postprocess/kernels/compiled/sources
KERNELS := $(shell grep -rl --include=*.py posert.postprocess.kernels.registry postprocess runtime) runtime/spec.py
KERNEL_TESTS := $(addprefix tests/test_,paf.py prepare.py direct.py simcc.py dark.py rows.py turned.py steady.py parts.py)

.PHONY: demo test lint kernels test-export wheels test-wheels test-pages test-bridges bench fuzz clean

demo: .venv/cpu $(COMPILED)
	@mkdir -p $(OUT)
	@$(BIN)/python -m posert.export.nano.clip $(OUT)/clip.mp4
	@$(BIN)/posert infer nano $(OUT)/clip.mp4 -o $(OUT)/clip.jsonl --track --overlay $(OUT)/overlay.mp4
	@$(BIN)/posert report $(OUT)/clip.jsonl -o $(OUT)/report.html

test: .venv/test kernels lint
	$(BIN)/python -m pytest -m "not export and not wheels and not pages and not bridges"
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(KERNEL_TESTS)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

kernels: .venv/test
	@$(BIN)/python wheels/kernels.py --bundles
	@touch $(COMPILED)

wheels: .venv/wheels
	$(BIN)/python wheels/backend.py

test-wheels: wheels
	$(BIN)/python -m pytest -m wheels

test-pages: .venv/pages
	$(BIN)/python -m pytest -m pages

test-bridges: .venv-bridges/ready
	$(BRIDGES)/python -m pytest -m bridges tests/test_bridges.py

test-export: .venv-export/openpifpaf
	@$(EXPORT)/python wheels/kernels.py --bundles
	$(EXPORT)/python -m pytest -m export

bench: .venv-export/ready
	@$(EXPORT)/python wheels/kernels.py
	for name in $(BENCHES); do $(EXPORT)/python tests/bench/$$name.py || exit 1; done

# A million inputs and more, about two hours; `make fuzz FUZZ="--inputs 1000"` is a quick round, FUZZ=paf one target.
fuzz: .venv-export/ready
	@$(EXPORT)/python wheels/kernels.py --bundles
	PYTHONPATH=.typing:tests $(EXPORT)/python tests/fuzz.py $(FUZZ)

.venv/cpu: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: posert needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --upgrade pip
	@echo 'installing posert; its kernels are compiled on the way, which takes about a minute'
	$(BIN)/python $(PIP) -e '.[cpu,track]'
	@touch $@

# Where the kernels have changed since. There is no numba in .venv yet: pip has one while it builds.
$(COMPILED): $(KERNELS) | .venv/cpu
	@echo 'compiling the kernels that have changed'
	$(BIN)/python $(PIP) --no-deps -e .
	@touch $@

# trackeval asks for an OpenCV that overwrites the headless one, so it comes alone.
.venv/test: .venv/cpu
	$(BIN)/python $(PIP) -e '.[cpu,test]'
	$(BIN)/python $(PIP) --no-deps trackeval scipy tabulate
	@touch $@

# Debian's browser where it can be installed; where there is none, the tests skip and say so.
.venv/pages: .venv/test
	$(BIN)/python $(PIP) playwright
	@command -v chromium >/dev/null || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || true
	@touch $@

.venv/wheels: .venv/test
	$(BIN)/python $(PIP) 'setuptools>=77' ziglang auditwheel lief
	@touch $@

# datumaro wants OpenCV 4, and rerun-sdk has 170 MB: an environment of their own.
.venv-bridges/ready: pyproject.toml
	$(PYTHON) -m venv .venv-bridges
	$(BRIDGES)/python $(PIP) --upgrade pip
	$(BRIDGES)/python $(PIP) -e '.[cpu,convert,eval,track]' pytest hypothesis datumaro pandas rerun-sdk supervision
	@touch $@

# torch first and pinned: a later resolve would take a build with gigabytes of CUDA. rtmlib wants two packages of OpenCV
# that overwrite ours, so it comes alone.
.venv-export/ready: pyproject.toml
	$(PYTHON) -m venv .venv-export
	$(EXPORT)/python $(PIP) --upgrade pip
	$(EXPORT)/python $(PIP) torch==2.13.0
	$(EXPORT)/python $(PIP) -e '.[cpu,test,export]' tqdm
	$(EXPORT)/python $(PIP) --no-deps rtmlib==0.0.16
	@touch $@

# openpifpaf pins torch 1.13 and its build compiles a C++ decoder for minutes; loading its checkpoints needs the Python
# sources alone, so they are unpacked, not installed. Its setup.py asks for torch and numpy even to say its name.
OPENPIFPAF := openpifpaf-0.13.11
.venv-export/openpifpaf: .venv-export/ready
	$(EXPORT)/python $(PIP) setuptools
	$(EXPORT)/python $(PIP) --no-deps torchvision==0.28.0
	$(EXPORT)/python -m pip --disable-pip-version-check download --quiet --no-deps --no-build-isolation \
		--no-binary openpifpaf --dest .venv-export $(subst -,==,$(OPENPIFPAF))
	tar -xzf .venv-export/$(OPENPIFPAF).tar.gz -C .venv-export
	$(EXPORT)/python -c 'import pathlib, sysconfig; \
		pathlib.Path(sysconfig.get_path("purelib"), "openpifpaf.pth").write_text("$(CURDIR)/.venv-export/$(OPENPIFPAF)/src")'
	@touch $@

clean:
	rm -rf .venv .venv-export .venv-bridges out build dist postprocess/kernels/compiled *.egg-info

# Two commands do all the set-up: `make demo` and `make test`. Everything lives in .venv and .venv-*.
PYTHON ?= python3
PIP := -m pip --disable-pip-version-check install --quiet
BIN := .venv/bin
EXPORT := .venv-export/bin
BRIDGES := .venv-bridges/bin
OLDEST := .venv-oldest/bin
# Side by side, a file's tests in one process; `make test PARALLEL=` runs them one after the other.
PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile
OTHERS := -m "not bridges and not c and not docs and not export and not openvino and not pages and not wheels"
DOCS := .venv-docs/bin
SITE := out/site
OPENVINO := .venv-openvino/bin
OUT := out/demo
BENCHES := sample paf cmu cifcaf heavy export_speed nano infer startup
COMPILED := postprocess/kernels/compiled/sources
KERNELS := $(shell grep -rl --include=*.py posert.postprocess.kernels.registry postprocess runtime) runtime/spec.py
VERSIONED := $(addprefix tests/test_,cli.py drawing.py estimate.py formats.py frames.py fuse.py named.py opencv.py \
	outputs.py overlay.py paf.py plot.py prepare.py recipe.py rows.py serve.py session.py track.py video.py)
KERNEL_TESTS := $(addprefix tests/test_,paf.py prepare.py direct.py simcc.py dark.py rows.py turned.py steady.py parts.py)

.PHONY: demo test lint kernels wasm test-export wheels dist reproducible test-wheels test-pages test-bridges test-c \
	test-ray test-readers test-oldest test-openvino docs test-docs bench fuzz clean

demo: .venv/cpu $(COMPILED)
	@mkdir -p $(OUT)
	@$(BIN)/python -m posert.export.nano.clip $(OUT)/clip.mp4
	@$(BIN)/posert infer nano $(OUT)/clip.mp4 -o $(OUT)/clip.jsonl --track --overlay $(OUT)/overlay.mp4
	@$(BIN)/posert report $(OUT)/clip.jsonl -o $(OUT)/report.html

test: .venv/test kernels lint
	$(BIN)/python -m pytest $(PARALLEL) $(OTHERS)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(PARALLEL) $(KERNEL_TESTS)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

kernels: .venv/test
	@$(BIN)/python wheels/kernels.py --bundles
	@touch $(COMPILED)

wasm: .venv/wheels
	@$(BIN)/python wheels/wasm.py

wheels: .venv/wheels
	$(BIN)/python wheels/backend.py

# Everything that a release has, in dist/; with the site if `make docs` has made it.
dist: .venv/wheels kernels wasm
	PYTHONPATH=.typing $(BIN)/python wheels/release.py

# Two checkouts at two places, nothing taken from a cache: the same hashes? Compiles every kernel twice, ten minutes each.
reproducible: .venv/wheels
	rm -rf out/once out/again-elsewhere
	for place in once again-elsewhere; do mkdir -p out/$$place && git archive HEAD | tar -x -C out/$$place && \
		(cd out/$$place && PYTHONPATH=.typing $(CURDIR)/$(BIN)/python wheels/release.py --offline) || exit 1; done
	diff out/once/dist/SHA256SUMS out/again-elsewhere/dist/SHA256SUMS && cat out/once/dist/SHA256SUMS

test-wheels: dist
	$(BIN)/python -m pytest $(PARALLEL) -m wheels

test-pages: .venv/pages wasm
	$(BIN)/python -m pytest -m pages

test-bridges: .venv-bridges/ready
	$(BRIDGES)/python -m pytest -m bridges tests/test_bridges.py

test-ray: .venv-bridges/ready
	$(BRIDGES)/python -m pytest tests/test_ray.py tests/test_schedulers.py

test-readers: .venv-bridges/ready
	$(BRIDGES)/python -m pytest tests/test_formats.py tests/test_store.py tests/test_lookup.py \
		tests/test_azure.py tests/test_dataset_store.py tests/test_dataset_readers.py

test-c: .venv/c kernels wasm
	$(BIN)/python -m pytest $(PARALLEL) -m c

# What touches numpy, ONNX Runtime, OpenCV and the extras, with the lowest versions that pyproject.toml allows; .venv has the
# newest.
test-oldest: .venv-oldest/ready kernels
	$(OLDEST)/python -m pytest $(OTHERS) $(VERSIONED)

# The site, with warnings as errors; addresses elsewhere are not looked at, for there may be no network.
docs: .venv-docs/ready
	$(DOCS)/python -m sphinx -b html -q -W --keep-going docs $(SITE)
	@echo $(SITE)/index.html

# Its links, and docs/first-steps.md followed in a fresh environment.
test-docs: docs
	$(DOCS)/python -m pytest -m docs tests/test_examples.py tests/test_first_steps.py tests/test_site.py

test-openvino: .venv-openvino/ready
	$(OPENVINO)/python -m pytest -m openvino tests/test_openvino.py

test-export: .venv-export/openpifpaf
	@$(EXPORT)/python wheels/kernels.py --bundles
	$(EXPORT)/python -m pytest $(PARALLEL) -m export

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
	@echo 'installing posert; its kernels are compiled on the way, which takes one to five minutes'
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
	$(BIN)/python $(PIP) 'setuptools>=77' ziglang auditwheel lief cyclonedx-bom pip-licenses pipx uv \
		check-jsonschema wasmtime
	@touch $@

# Debian's packages where they can be installed (command:packages); what is missing then, the tests skip and say so.
C_TOOLS := cmake:cmake valgrind:valgrind pkg-config:pkg-config node:nodejs npm:npm qemu-aarch64:qemu-user \
	x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64 aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu,libc6-dev-arm64-cross
.venv/c: .venv/wheels
	@missing=; for each in $(C_TOOLS); do command -v $${each%%:*} >/dev/null || missing="$$missing $${each#*:}"; done; \
		[ -z "$$missing" ] || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends $$(echo $$missing | tr , ' ') >/dev/null; } || true
	@touch $@

# Other people's programs: datumaro wants OpenCV 4, and rerun-sdk has 170 MB, so they have an environment of their own.
# Pose2Sim's reader needs a few of the packages that it asks for, and not the 2 GB of all. Azurite, Azure's emulator, is npm's; where it
# cannot be had, its tests skip and say so.
.venv-bridges/ready: pyproject.toml
	$(PYTHON) -m venv .venv-bridges
	$(BRIDGES)/python $(PIP) --upgrade pip
	$(BRIDGES)/python $(PIP) -e '.[cpu,az,convert,eval,parquet,ray,track]' pytest hypothesis \
		'moto[server]' datumaro duckdb pandas polars rerun-sdk supervision anytree c3d matplotlib rtoml scipy tqdm
	$(BRIDGES)/python $(PIP) --no-deps pose2sim
	npm install --silent --no-fund --no-audit --prefix .venv-bridges/azurite azurite@3 >/dev/null 2>&1 || true
	@touch $@

# uv can resolve to the lowest versions, pip cannot. What the tests need besides is the newest.
.venv-oldest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python $(PIP) --upgrade pip uv
	$(OLDEST)/uv pip install --quiet --python $(OLDEST)/python --resolution lowest-direct \
		-e '.[cpu,convert,eval,jit,parquet,plot,serve,track,video]'
	$(OLDEST)/python $(PIP) pytest hypothesis pillow
	@touch $@

.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	$(DOCS)/python $(PIP) --upgrade pip
	$(DOCS)/python $(PIP) -e '.[cpu,docs]' pytest hypothesis
	@touch $@

# OpenVINO's 180 MB stay out of the others, whose `auto` would take it.
.venv-openvino/ready: pyproject.toml
	$(PYTHON) -m venv .venv-openvino
	$(OPENVINO)/python $(PIP) --upgrade pip
	$(OPENVINO)/python $(PIP) -e '.[cpu,convert,openvino]' pytest hypothesis
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
	rm -rf .venv .venv-export .venv-bridges .venv-oldest .venv-openvino .venv-docs docs/made out build dist postprocess/kernels/compiled *.egg-info

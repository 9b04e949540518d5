# Two commands do all the set-up: `make demo` and `make test`. Everything lives in .venv and .venv-export.
PYTHON ?= python3
PIP := -m pip --disable-pip-version-check install --quiet
BIN := .venv/bin
EXPORT := .venv-export/bin
OUT := out/demo
BENCHES := sample paf cmu cifcaf export_speed nano infer startup
KERNEL_TESTS := tests/test_paf.py tests/test_prepare.py tests/test_direct.py

.PHONY: demo test lint test-export bench clean

demo: .venv/cpu
	@mkdir -p $(OUT)
	@$(BIN)/python -m posert.export.nano.clip $(OUT)/clip.mp4
	@$(BIN)/posert infer nano $(OUT)/clip.mp4 -o $(OUT)/clip.jsonl --overlay $(OUT)/overlay.mp4

test: .venv/test lint
	$(BIN)/python -m pytest -m "not export"
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(KERNEL_TESTS)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-export: .venv-export/openpifpaf
	$(EXPORT)/python -m pytest -m export

bench: .venv-export/ready
	for name in $(BENCHES); do $(EXPORT)/python tests/bench/$$name.py || exit 1; done

.venv/cpu: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: posert needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --upgrade pip
	$(BIN)/python $(PIP) -e '.[cpu]'
	@touch $@

.venv/test: .venv/cpu
	$(BIN)/python $(PIP) -e '.[cpu,test]'
	@touch $@

# torch first and pinned: a later resolve would take a build with gigabytes of CUDA.
.venv-export/ready: pyproject.toml
	$(PYTHON) -m venv .venv-export
	$(EXPORT)/python $(PIP) --upgrade pip
	$(EXPORT)/python $(PIP) torch==2.13.0
	$(EXPORT)/python $(PIP) -e '.[cpu,test,export]'
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
	rm -rf .venv .venv-export out build dist *.egg-info

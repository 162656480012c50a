# make test   runs every check; make demo   shows the whole method on synthetic data. Both need Python 3.11+ only:
# they make .venv and install into it.
PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo
EPOCHS ?= 5
BIN    := $(VENV)/bin

.PHONY: test lint demo demo-ham demo-lits demo-deeplesion images experiment bench gpu clean

$(VENV)/installed: requirements.txt tests/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; pass PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	# Without a desktop's libraries (libGL) OpenCV's standard build does not load; its headless one is the same module.
	$(BIN)/python -c 'import cv2' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check \
	  --force-reinstall --no-deps "$$(sed -n 's/^opencv-python==/opencv-python-headless==/p' requirements.txt)"
	touch $@

# Two processes of one thread each are quicker than one of two.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Small encoder, small canvas, a few epochs: minutes on two cores. The figures show that the chain works, no more.
BRIEF := --encoder resnet18 --encoder-weights none --canvas 128x128 --lr 1e-3 --seed 0

# $(call demo,FOLDER,prefix of data and phantom scripts,prefix of the six,name of ACoseg,CLUSTERS,EPOCHS)
define demo
	@echo; echo "== $(1): the data are SYNTHETIC =="
	$(BIN)/python $(1)/$(2)_phantom.py $(DEMO)/$(1)
	$(BIN)/python $(1)/$(2)_data.py --data $(DEMO)/$(1) --clusters $(5)
	for method in A1 A1class $(4); do \
	  $(BIN)/python $(1)/$(3)_$${method}_train.py --data $(DEMO)/$(1) --checkpoint $(DEMO)/$(1)/$$method.pt \
	    --clusters $(5) --epochs $(6) $(BRIEF) && \
	  $(BIN)/python $(1)/$(3)_$${method}_eval.py --data $(DEMO)/$(1) --checkpoint $(DEMO)/$(1)/$$method.pt \
	    --results $(DEMO)/$(1)/results || exit $$?; \
	done
	$(BIN)/python common figures results $(DEMO)/$(1)/prepared $(DEMO)/$(1)/A1.pt $(DEMO)/$(1)/$(4).pt \
	  $(DEMO)/$(1)/A1class.pt --out $(DEMO)/$(1)/predictions.png
endef

demo: demo-ham demo-lits demo-deeplesion
	@echo; echo "== the table, on SYNTHETIC data: not comparable with the paper's =="
	$(BIN)/python common report $(DEMO)/code_ham/results $(DEMO)/code_lits/results $(DEMO)/code_deeplesion/results \
	  --out $(DEMO)
	@echo "pictures: $(DEMO)/code_*/predictions.png"

demo-ham: $(VENV)/installed
	$(call demo,code_ham,HAM,HAM,Acoseg,8,$(EPOCHS))

demo-lits: $(VENV)/installed
	$(call demo,code_lits,lits,lits,Acoseg,8,$(EPOCHS))

demo-deeplesion: $(VENV)/installed
	$(call demo,code_deeplesion,DeepLesion,deeplesion,A1coseg,8,$(EPOCHS))

# The READMEs' pictures, from a finished demo (they were drawn from `make demo EPOCHS=12`) and from what is kept.
FIGURES  = $(BIN)/python common figures
FOLDERS  = $(addprefix $(DEMO)/,code_ham code_lits code_deeplesion)
PREPARED = $(addsuffix /prepared,$(FOLDERS))
images: $(VENV)/installed
	$(FIGURES) overview $(DEMO)/code_ham/prepared $(DEMO)/code_ham/A1class.pt --out images/overview.png
	$(FIGURES) clusters $(PREPARED) --out images/clusters.png
	$(FIGURES) results --rows 2 --out images/segmentation_results.png \
	  $(foreach folder,$(FOLDERS),$(addprefix $(folder)/,prepared A1.pt A*coseg.pt A1class.pt))
	$(FIGURES) curves code_ham/measured/methods/checkpoints/*.history.csv --out images/learning_curves.png
	$(FIGURES) outlines code_ham/measured/outlines --out images/outlines.png

# The paper's experiment on one dataset; the same command goes on where it was interrupted.
DATASET ?= ham
SEEDS   ?= 3
experiment: $(VENV)/installed
	$(BIN)/python common experiment $(DATASET) --seeds $(SEEDS) $(FLAGS)

# Speed and memory against the published way of doing it; DATA is a prepared HAM10000, by default a synthetic one.
BENCH ?= bench
bench: $(VENV)/installed
ifndef DATA
	$(BIN)/python code_ham/HAM_phantom.py $(BENCH)/data
	$(BIN)/python code_ham/HAM_data.py --data $(BENCH)/data --clusters 8
endif
	$(BIN)/python common benchmark ham --data $(or $(DATA),$(BENCH)/data) --out $(BENCH) $(FLAGS)

# Checks, speed and memory on a CUDA GPU, in about ten minutes; without one it says so and ends.
gpu: $(VENV)/installed
ifndef DATA
	$(BIN)/python code_ham/HAM_phantom.py $(BENCH)/data
	$(BIN)/python code_ham/HAM_data.py --data $(BENCH)/data --clusters 8
endif
	$(BIN)/python common gpu ham --data $(or $(DATA),$(BENCH)/data) --checks tests/on_gpu.py --out $(BENCH) $(FLAGS)

clean:
	rm -rf $(VENV) $(DEMO) $(BENCH) .pytest_cache .mypy_cache .ruff_cache

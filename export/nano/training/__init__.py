"""The training of posert-nano: data, crops, drawn scenes, the loop, its measure. In a checkout alone, not in the wheel.

In the environment of `make test-export`, with COCO's keypoint labels and photos and human-pose-estimation-0001 as ONNX:

    python -m posert.export.nano.training.cache --labels L.json --images DIR --teacher T.onnx --out photos
    python -m posert.export.nano.training.thunder photos --thunder movenet-thunder.onnx --detector yolox-nano.onnx
    python -m posert.export.nano.training.drawn --photos photos --out drawn
    python -m posert.export.nano.training.train --cache photos=0.8 drawn=0.2 --steps N --out run
    python -m posert.export.nano.training.train ... --init run/state.pt --twice --still --steps N --out both
    python -m posert.export.nano.training.train ... --init both/state.pt --twice --steps N --out all
    posert export nano --from all/state.pt
    python -m posert.export.nano.training.evaluate nano.onnx
    python -m posert.export.nano.training.evaluate nano.onnx --crowds L.json --images DIR
    python -m posert.export.nano.training.evaluate nano.onnx --lying tests/lying.json --images LYING

(LYING is made by `lying`; `--nobody` needs photos on which everybody is labelled, which COCO's often are not.)
More photos make more caches (`cache --help`: without labels, with people upside down, without a test set's photos).
`thunder` is for caches whose labels lack joints or people, which COCO's do not. `trials` compares networks, losses and
averages at equal cost.

`checkpoint.pt` is the shipped network's, `runs.jsonl` has every run before it. Nothing outside this folder needs it.
"""

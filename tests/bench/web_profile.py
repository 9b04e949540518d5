"""Where the time of MoveNet's networks goes, by kinds of operators: ONNX Runtime for the web beside TensorFlow.js.

python tests/bench/web_profile.py NODE_MODULES PICTURE --weights FOLDER NAME=MODEL.onnx ...: as web_tfjs.py; medians of
RUNS runs of each network in one browser, one thread, by the profile of each runtime: ms of each kind, and of all.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from web_tfjs import asked, page

SIDES = {"lightning": 192, "thunder": 256, "multipose": 256}
RUNS, FIRST = 30, 5
KINDS = ("convolution 1x1", "depthwise convolution", "other convolution", "everything else")
THEIRS = """async ([kind, side, runs]) => {
  tf.wasm.setWasmPaths('./');
  tf.wasm.setThreadsCount(1);
  await tf.setBackend('wasm');
  const model = await tf.loadGraphModel(`movenet-${kind}.json`), found = [];
  const noise = Int32Array.from({ length: side * side * 3 }, (_, i) => (i * 7919) % 256);
  const picture = tf.tensor(noise, [1, side, side, 3], 'int32');
  const call = () => kind === 'multipose' ? model.executeAsync(picture) : model.execute(picture);
  tf.env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
  for (let i = 0; i < runs; i++) {
    const { kernels } = await tf.profile(call);
    const whole = kernels.filter(({ name }) => !name.endsWith('__op')); // which are said twice
    const timed = async (one) => [one.name, one.inputShapes[1] ?? [], await one.kernelTimeMs];
    found.push(await Promise.all(whole.map(timed)));
  }
  return found;
}"""
OURS = """async ([model, side, runs]) => {
  const ort = await import('./ort.wasm.min.mjs');
  Object.assign(ort.env.wasm, { wasmPaths: new URL('./', location.href).href, numThreads: 1 });
  const options = { executionProviders: ['wasm'], graphOptimizationLevel: 'all', enableProfiling: true };
  const session = await ort.InferenceSession.create(model, options), [name] = session.inputNames;
  const noise = Int32Array.from({ length: side * side * 3 }, (_, i) => (i * 7919) % 256);
  for (let i = 0; i < runs; i++) await session.run({ [name]: new ort.Tensor('int32', noise, [1, side, side, 3]) });
  session.endProfiling(); // to the console
}"""


def kind_of(operator: str, weights: list[int], depthwise: bool) -> str:
    """weights: the two sides of the filter."""
    if "conv" not in operator.lower():
        return KINDS[3]
    return KINDS[1] if depthwise else KINDS[0] if weights == [1, 1] else KINDS[2]


def medians(runs: list[list[tuple[str, float]]]) -> dict[str, float]:
    """Kind -> median ms of a run, and of all kinds."""
    sums = [{kind: sum(ms for its, ms in run if its == kind) for kind in KINDS} for run in runs[FIRST:]]
    each = {kind: float(np.median([one[kind] for one in sums])) for kind in KINDS}
    return each | {"all": float(np.median([sum(one.values()) for one in sums]))}


def theirs(tab: Any, kind: str) -> dict[str, float]:
    runs = tab.evaluate(THEIRS, [kind, SIDES[kind], RUNS])
    return medians([[(kind_of(name, w[:2], "epthwise" in name), ms) for name, w, ms in run] for run in runs])


def ours(tab: Any, kind: str, model: str) -> dict[str, float]:
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    tab.evaluate(OURS, [model, SIDES[kind], RUNS])
    tab.evaluate("0")  # what the console said is here
    runs: list[list[tuple[str, float]]] = [[]]
    for line in said:
        event = json.loads(line.rstrip(",]")) if line.startswith('{"cat"') else {"name": ""}
        if event["name"] == "model_run":
            runs.append([])
        elif event["name"].endswith("_kernel_time"):
            name, shapes = event["args"]["op_name"], event["args"]["input_type_shape"]
            weights = next(iter(shapes[1].values())) if len(shapes) > 1 and "Conv" in name else [0, 0]
            runs[-1].append((kind_of(name, weights[2:], weights[1] == 1 < weights[0]), event["dur"] / 1000))
    return medians(runs[:-1])


def main() -> None:
    options = asked("the networks of MoveNet in both runtimes, by kinds of operators").parse_args()
    models = dict(word.split("=") for word in options.model)
    with page(options.modules, list(models.values()), options.weights, options.picture) as (context, address):
        for kind, model in models.items():
            tabs = [context.new_page(), context.new_page()]
            for tab in tabs:
                tab.goto(address)
                assert tab.evaluate("crossOriginIsolated"), "its clock is coarse"
            their, own = theirs(tabs[0], kind), ours(tabs[1], kind, Path(model).name)
            for name in own:
                print(f"{kind}, {name}: TensorFlow.js {their[name]:.2f} ms, ONNX Runtime {own[name]:.2f}", flush=True)
            for tab in tabs:
                tab.close()


if __name__ == "__main__":
    main()

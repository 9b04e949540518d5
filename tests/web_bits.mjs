// node web_bits.mjs SITE CASE.json...: opens each case's model with the modules of SITE, compares its table with Python's,
// feeds it the recorded outputs of the networks and prints what differs, one line of JSON a case.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [site, ...cases] = process.argv.slice(2)
const load = (name) => import(pathToFileURL(path.join(site, name)))
const { readFile } = await load('onnx.mjs')
const { readSpec, withDetector, withParams, withParts } = await load('spec.mjs')
const { modelTable } = await load('table.mjs')
const { Engine, BGR } = await load('engine.mjs')
const wasm = new WebAssembly.Module(fs.readFileSync(path.join(site, 'posert.wasm')))

const bytesOf = (file) => new Uint8Array(fs.readFileSync(file))
const same = (a, b) => a.byteLength === b.byteLength && Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.byteLength), Buffer.from(b.buffer, b.byteOffset, b.byteLength)) === 0
const ARRAYS = { float32: Float32Array, float16: Uint16Array, int64: BigInt64Array, int32: Int32Array }

for (const file of cases) {
  const folder = path.dirname(file)
  const { model, files, detector, parts, params, detect_every, frames } = JSON.parse(fs.readFileSync(file))
  const opened = (name) => readFile(bytesOf(path.resolve(folder, name)), name)
  let spec = readSpec(opened(model), model)
  if (detector) spec = withDetector(spec, readSpec(opened(detector), detector), detector)
  spec = withParts(spec, parts.map((part) => [readSpec(opened(part), part), path.basename(part)]))
  const [changed, follow] = withParams(spec, params)
  const inputs = Object.fromEntries(Object.entries(files).map(([stage, name]) => [stage, { name: path.basename(name), inputs: opened(name).inputs }]))
  const table = modelTable(changed, follow, inputs)
  const said = { case: path.basename(file), table: same(table, bytesOf(file.replace('.json', '.table'))), frames: 0, people: 0, feeds: 0, wrong: [] }
  const engine = new Engine(wasm, changed, table, detect_every)
  for (const [number, { width, height, pixels, runs, count, reset, boxes }] of frames.entries()) {
    let run = 0
    if (reset) engine.reset()
    const found = await engine.estimate(bytesOf(path.resolve(folder, pixels)), width, height, BGR, async ({ stage, feeds, outputs }) => {
      const recorded = runs[run++]
      if (!recorded || recorded.stage !== changed.stages[stage].name) throw new Error(`frame ${number}: a network ran that did not in Python`)
      for (const [name, { data }] of Object.entries(feeds)) {
        said.feeds++
        if (!same(data, bytesOf(path.resolve(folder, recorded.feeds[name])))) said.wrong.push(`frame ${number}: feed ${name}`)
      }
      return Object.fromEntries(outputs.map((name) => {
        const { type, dims, file } = recorded.outputs[name]
        const bytes = bytesOf(path.resolve(folder, file))
        return [name, { type, dims, data: new ARRAYS[type](bytes.buffer, bytes.byteOffset, bytes.length / ARRAYS[type].BYTES_PER_ELEMENT) }]
      }))
    }, boxes && Float32Array.from(boxes.flat()))
    if (run !== runs.length) said.wrong.push(`frame ${number}: ${run} runs, Python had ${runs.length}`)
    for (const name of ['keypoints', 'scores', 'boxes']) {
      if (!same(found[name], bytesOf(path.resolve(folder, `${path.basename(file, '.json')}.${number}.${name}`)))) said.wrong.push(`frame ${number}: ${name}`)
    }
    if (found.count !== count) said.wrong.push(`frame ${number}: ${found.count} people, Python has ${count}`)
    said.frames++
    said.people += found.count
  }
  console.log(JSON.stringify(said))
}

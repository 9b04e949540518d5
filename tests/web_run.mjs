// node web_run.mjs FILE...: runs each FILE (.onnx) with onnxruntime-web on FILE.bin (f32, u8 or i32 as its type in FILE.json says)
// and writes every output beside it, FILE.NUMBER.out. onnxruntime-web is found from the working folder.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const found = createRequire(process.cwd() + '/').resolve('onnxruntime-web')
const module = await import(pathToFileURL(found))
const ort = module.InferenceSession ? module : module.default
const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array }
ort.env.wasm.numThreads = 1

for (const file of process.argv.slice(2)) {
  const { shape, type, outputs } = JSON.parse(fs.readFileSync(file + '.json'))
  const bytes = new Uint8Array(fs.readFileSync(file + '.bin'))
  const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(file)), { executionProviders: ['wasm'] })
  const tensor = new ort.Tensor(type, new ARRAYS[type](bytes.buffer), shape)
  const results = await session.run({ [session.inputNames[0]]: tensor })
  outputs.forEach((name, i) => fs.writeFileSync(`${file}.${i}.out`, Buffer.from(results[name].data.buffer)))
}

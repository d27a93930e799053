// Drives the official Node client as the Python benchmarks drive ours: a job a line on stdin, what it took on stdout.
//
//     node node_client.mjs PACKAGE BASE_URL        PACKAGE is the folder of @chatbotkit/sdk
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [, , folder, baseUrl] = process.argv
const { ConversationClient } = await import(pathToFileURL(`${folder}/dist/esm/conversation/index.js`).href)
const client = new ConversationClient({ secret: 'benchmark', baseUrl })
const text = 'When do you open?'

async function readStream(id) {
  let lines = 0
  for await (const event of client.complete(id, { text }).stream()) {
    lines += event.type ? 1 : 0
  }
  return lines
}

const jobs = {
  async send({ calls, together }) {
    let left = calls
    const one = async () => {
      while (left-- > 0) {
        await client.send('c0123456789abcdefghij', { text })
      }
    }
    await Promise.all(Array.from({ length: together }, one))
    return calls
  },
  async read({ conversation, together, batches }) {
    let lines = 0
    for (let batch = 0; batch < batches; batch += 1) {
      const read = await Promise.all(Array.from({ length: together }, () => readStream(conversation)))
      lines += read.reduce((sum, one) => sum + one, 0)
    }
    return lines
  },
}

console.log(process.version)
for await (const line of createInterface({ input: process.stdin })) {
  const { job, ...given } = JSON.parse(line)
  const begin = process.hrtime.bigint()
  const units = await jobs[job](given)
  console.log(JSON.stringify({ units, seconds: Number(process.hrtime.bigint() - begin) / 1e9 }))
}

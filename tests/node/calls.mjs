// Performs calls with the official Node client: a JSON table comes on stdin, one line of outcome a call goes to stdout.
// Where `captured` is set nothing is sent: the outcome is the requests that would have been.
import { ConversationClient } from '@chatbotkit/sdk/conversation/index.js'

let input = ''
for await (const chunk of process.stdin) input += chunk

for (const { options, resource, method, args, streamed, captured } of JSON.parse(input)) {
  const requests = []
  const capture = async (url, { method, headers, body }) => {
    requests.push({ url, method, headers, body })
    return new Response('{}', { headers: { 'content-type': 'application/json' } })
  }
  let outcome
  try {
    const client = new ConversationClient(captured ? { ...options, fetchFn: capture } : options)
    const target = resource === 'conversation' ? client : client[resource]
    const answer = target[method](...args)
    if (streamed) {
      outcome = []
      for await (const event of answer.stream()) outcome.push(event)
    } else {
      outcome = await answer
    }
  } catch (error) {
    outcome = { error: { message: error.message, code: error.code } }
  }
  process.stdout.write(JSON.stringify(captured ? requests : (outcome ?? null)) + '\n')
}

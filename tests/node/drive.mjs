// Drives a server through every method of the official Node client's ConversationClient, awaited and streamed.
// What each step gave goes to stdout as one JSON object.
import { ConversationClient } from '@chatbotkit/sdk/conversation/index.js'
import { options } from './options.mjs'

const client = new ConversationClient(options)
const steps = {}

const failure = ({ message, code }) => ({ failed: { message, code } })

async function step(name, perform) {
  try {
    steps[name] = (await perform()) ?? null
  } catch (error) {
    steps[name] = failure(error)
  }
  return steps[name]
}

async function streamed(name, perform) {
  const events = []
  try {
    for await (const event of perform().stream()) {
      if (event.type !== 'ping') events.push(event)
    }
  } catch (error) {
    events.push(failure(error))
  }
  steps[name] = events
}

const user = (text) => ({ type: 'user', text })
const model = { name: 'echo', config: { maxTokens: 50 } }

// Conversations.
const { id } = await step('create', () =>
  client.create({ model, name: 'Café', meta: { plan: 'pro' }, messages: [user('Grüße 😀 \u2028')] })
)
await step('fetch', () => client.fetch(id))
await streamed('fetch streamed', () => client.fetch(id))
await step('update', () => client.update(id, { name: 'Bar', meta: { plan: null, more: true } }))
await step('fetch updated', () => client.fetch(id))
const other = await step('create other', () => client.create({ model: 'echo', meta: { plan: 'pro' } }))
await step('list', () => client.list())
await step('list one', () => client.list({ take: 1, order: 'asc' }))
await step('list next', () => client.list({ take: 1, order: 'asc', cursor: steps['list one'].cursor }))
await step('list by meta', () => client.list({ meta: { plan: 'pro' } }))
await streamed('list streamed', () => client.list({ order: 'asc' }))
await step('upvote', () => client.upvote(id, { value: 10, reason: 'good' }))
await step('downvote', () => client.downvote(id, {}))

// Exchanges.
await step('send', () => client.send(id, { text: '  hello ☕ ' }))
await step('receive', () => client.receive(id, {}))
await streamed('send streamed', () => client.send(id, { text: 'again' }))
await streamed('receive streamed', () => client.receive(id, {}))
await step('complete', () => client.complete(id, { text: 'whole' }))
await streamed('complete streamed', () => client.complete(id, { text: 'Grüße 😀 \u2028 all' }))
await step('complete stateless', () => client.complete(null, { model, messages: [user('hi')] }))
await streamed('complete stateless streamed', () => client.complete(null, { model: 'thinks', messages: [user('hi')] }))

// Messages.
const message = await step('message create', () => client.message.create(other.id, { ...user('One'), meta: { a: 1 } }))
await step('message fetch', () => client.message.fetch(other.id, message.id))
await step('message update', () => client.message.update(other.id, message.id, { text: 'Uno' }))
await step('message upvote', () => client.message.upvote(other.id, message.id, { value: 1 }))
await step('message downvote', () => client.message.downvote(other.id, message.id, {}))
await step('message list', () => client.message.list(other.id, { order: 'desc', take: 5 }))
await streamed('message list streamed', () => client.message.list(id))
await step('message delete', () => client.message.delete(other.id, message.id))
await step('message list after', () => client.message.list(other.id))

// Sessions.
const session = await step('session create', () => client.session.create(id, { durationInSeconds: 1800 }))
const guest = new ConversationClient({ ...options, secret: session.token })
await step('session complete', () => guest.complete(id, { text: 'from a page' }))
await step('session list', () => guest.list())

// What goes wrong.
await step('fetch unknown', () => client.fetch('unknown'))
await step('send nothing', () => client.send(id, { text: ' ' }))
await step('unknown model', () => client.complete(null, { model: 'nobody', messages: [user('hi')] }))
await streamed('unknown model streamed', () => client.complete(null, { model: 'nobody', messages: [user('hi')] }))
await step('broken model', () => client.complete(null, { model: 'breaks', messages: [user('hi')] }))
const broken = await step('create broken', () => client.create({ model: 'breaks' }))
await streamed('broken model streamed', () => client.complete(broken.id, { text: 'hi' }))
await step('wrong secret', () => new ConversationClient({ ...options, secret: 'wrong' }).list())
await step('functions', () =>
  client.complete(id, { text: 'hi', functions: [{ name: 'f', description: 'd', parameters: { type: 'object' } }] })
)

await step('dispatch', () => client.dispatch(id, { text: 'hi' }))
await step('dispatch stateless', () => client.dispatch(null, { messages: [user('hi')] }))

// What the server does not have yet.
await step('attachment upload', () =>
  client.attachment.upload(id, { data: new TextEncoder().encode('x').buffer, name: 'a.txt', type: 'text/plain' })
)

await step('delete broken', () => client.delete(broken.id))
await step('delete', () => client.delete(other.id))
await step('fetch deleted', () => client.fetch(other.id))

// Methods that were not called, so that a newer client cannot grow past this script unseen.
const named = new Set(Object.keys(steps).flatMap((name) => name.split(' ')))
const methods = (target) => Object.getOwnPropertyNames(Object.getPrototypeOf(target)).filter((name) => name !== 'constructor')
steps.uncalled = [client, client.message, client.session, client.attachment].flatMap(methods).filter((name) => !named.has(name))

process.stdout.write(JSON.stringify({ steps, ids: { id, other: other.id, message: message.id } }))

// A small agent on the official Node client: the bot's functions are answered here, over channels.
// What happened goes to stdout as one JSON object.
import { randomUUID } from 'node:crypto'
import { ChannelClient } from '@chatbotkit/sdk/channel/index.js'
import { ConversationClient } from '@chatbotkit/sdk/conversation/index.js'
import { options } from './options.mjs'

const conversations = new ConversationClient(options)
const channels = new ChannelClient(options)

const string = { type: 'string' }
const degrees = { Oslo: 4, Rome: 21 }

const tools = {
  weather: {
    description: 'Tell the weather of a city.',
    parameters: { type: 'object', properties: { city: string }, required: ['city'] },
    handler: async ({ city }) => {
      if (!(city in degrees)) throw new Error(`there is no ${city}`)
      return { city, celsius: degrees[city] }
    },
  },
  convert: {
    description: 'Convert degrees.',
    parameters: { type: 'object', properties: { celsius: { type: 'number' } }, required: ['celsius'] },
    handler: async ({ celsius }) => ({ fahrenheit: celsius * 1.8 + 32 }),
  },
}

/** Offers the tools, each on a random channel of its own. */
function offered(called) {
  const byChannel = {}
  const functions = Object.entries(tools).map(([name, { description, parameters }]) => {
    const channel = randomUUID()
    byChannel[channel] = name
    return { name, description, parameters, result: { channel } }
  })
  const answer = async ({ channel, function: { name, args } }) => {
    if (byChannel[channel] !== name) throw new Error(`${name} was asked for on a foreign channel`)
    called.push([name, args])
    let message
    try {
      message = { data: await tools[name].handler(args) }
    } catch (error) {
      message = { error: error.message }
    }
    await channels.publish(channel, { message })
  }
  return { functions, answer }
}

/** Listens to a bot at work, and answers what it calls. Types are told once where they follow one another. */
async function follow(events, answer) {
  const types = []
  let text = ''
  let finished = false
  let attempts = 0
  for await (const { type, data } of events) {
    if (type === 'ping') continue
    if (types.at(-1) !== type) types.push(type)
    if (type === 'token') {
      text = finished ? data.token : text + data.token
      finished = false
    }
    if (type === 'message') finished = true
    if (type === 'attempt') {
      attempts++ // another server went on: the unfinished message begins anew
      if (!finished) text = ''
    }
    if (type === 'waitForChannelMessageBegin') await answer(data)
    if (type === 'result') return { types, text, attempts, result: data }
  }
  throw new Error(`no result came: ${types}`)
}

/** The messages of a channel. Where a subscription breaks, another one goes on after the last message that came. */
async function* subscribed(channelId) {
  let after = 0
  for (let broken = 0; broken < 10; broken++) {
    try {
      for await (const { type, data, seq } of channels.subscribe(channelId, { historyLength: 1000 }).stream()) {
        if (type !== 'message' || seq <= after) continue
        after = seq
        yield data
      }
    } catch (error) {
      if (!options.retries) throw error
    }
  }
  throw new Error('the subscription ended')
}

async function complete(id, request) {
  const called = []
  const { functions, answer } = offered(called)
  return { ...(await follow(conversations.complete(id, { ...request, functions }).stream(), answer)), called }
}

async function dispatch(id, request) {
  const called = []
  const { functions, answer } = offered(called)
  const { channelId } = await conversations.dispatch(id, { ...request, functions })
  return { ...(await follow(subscribed(channelId), answer)), called }
}

async function talk() {
  const channel = randomUUID()
  await channels.publish(channel, { message: { number: 1, text: 'Grüße 😀 \u2028' } })
  const heard = []
  for await (const data of subscribed(channel)) {
    heard.push(data)
    if (heard.length === 3) break
    await channels.publish(channel, { message: { number: heard.length + 1 } })
  }
  return heard
}

const { id } = await conversations.create({ backstory: 'You know the weather.' })
const text = 'How warm is it in Oslo and in Rome, in Fahrenheit?'
const messages = [{ type: 'user', text }]
const done = {
  complete: await complete(id, { text }),
  'complete stateless': await complete(null, { model: 'm', messages }),
  dispatch: await dispatch(id, { text }),
  'dispatch stateless': await dispatch(null, { model: 'm', messages }),
  talk: await talk(),
}
process.stdout.write(JSON.stringify(done), () => process.exit(0))

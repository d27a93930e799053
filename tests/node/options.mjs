// The options of a Node client. BASE_URL, SECRET and RETRIES come from the environment.
// Where it retries, every call has an Idempotency-Key, so that a server does it once however often it is sent.
import { fetch, withRetry, withTimeout } from '@chatbotkit/fetch'
import { randomUUID } from 'node:crypto'

const retries = Number(process.env.RETRIES ?? 0)
const patient = withRetry(withTimeout(fetch, { timeout: Infinity }), { retries, retryDelay: 250, retryTimeout: true })

const keyed = (url, { headers, ...init }) =>
  patient(url, { ...init, headers: { ...headers, 'idempotency-key': randomUUID() } })

export const options = {
  secret: process.env.SECRET,
  baseUrl: process.env.BASE_URL,
  retries,
  ...(retries ? { fetchFn: keyed } : {}),
}

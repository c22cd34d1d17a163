// A backend that is in use for a while, with one of the official Bucket clients in it, and that knows
// which events the client was told are safe.
//
//     node drive_bucket_paced.js node|tracking KEY BASE_URL PAUSE_MS
//
// It reports until its input ends.
//
// Prints one JSON object: the numbers of the events that were answered with success, and of those
// that were answered otherwise or not at all. What the clients send is not touched: the answers are
// looked at on their way to the client.
'use strict'

const [which, key, base, pauseMs] = process.argv.slice(2)
let over = false
process.stdin.on('end', () => (over = true)).resume()
const safe = []
const unsure = []
const pause = () => new Promise((done) => setTimeout(done, Number(pauseMs)))
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const PER_ROUND = 20

async function withNodeSdk() {
	const numbers = (body) => JSON.parse(body).filter((one) => one.type === 'event').map((one) => one.attributes.n)
	const plain = globalThis.fetch
	globalThis.fetch = async (url, options) => {
		if (!options.body) return plain(url, options)
		const sent = numbers(options.body)
		try {
			const answer = await plain(url, options)
			const said = await answer.clone().json()
			;(answer.ok && said.success === true ? safe : unsure).push(...sent)
			return answer
		} catch (error) {
			unsure.push(...sent)
			throw error
		}
	}
	const { BucketClient } = require('@bucketco/node-sdk')
	const client = new BucketClient({ secretKey: key, apiBaseUrl: base, logger: quiet })
	for (let round = 0; !over; round++) {
		for (let n = round * PER_ROUND; n < (round + 1) * PER_ROUND; n++) {
			await client.track('john_doe', 'Sent message ♥', { attributes: { n } })
		}
		await client.flush()
		await pause()
	}
}

async function withTrackingSdk() {
	const bucket = require('@bucketco/tracking-sdk')
	bucket.init(key, { host: base })
	for (let n = 0; !over; n++) {
		try {
			const answer = await bucket.track('Sent message ♥', { n }, 'john_doe')
			;(answer.status === 200 ? safe : unsure).push(n)
		} catch (error) {
			unsure.push(n)
		}
		if (n % PER_ROUND === 0) await pause()
	}
}

const drive = which === 'node' ? withNodeSdk : withTrackingSdk
drive()
	.then(() => console.log(JSON.stringify({ safe, unsure })))
	.catch((error) => {
		console.error(error)
		process.exit(1)
	})

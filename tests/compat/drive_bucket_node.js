// A backend that uses the official client @bucketco/node-sdk as its README says, and leaves when the
// client says that all is flushed.
//
//     node drive_bucket_node.js SECRET_KEY BASE_URL EVENTS
//
// Prints one JSON object: what the client's own log warned of, what it counts as delivered, and how
// long initialize() took, in milliseconds.
'use strict'

const { BucketClient } = require('@bucketco/node-sdk')
const [secretKey, apiBaseUrl, count] = process.argv.slice(2)

const warnings = []
const note = (message) => warnings.push(String(message))
const logger = { debug() {}, info() {}, warn: note, error: note }

async function main() {
	const began = Date.now()
	const client = new BucketClient({ secretKey, apiBaseUrl, logger })
	await client.initialize()
	const initialized = Date.now() - began
	await client.updateUser('john_doe', { attributes: { name: 'John O.', age: 3 }, meta: { active: false } })
	await client.updateUser(1234567890)
	await client.updateCompany('acme_inc', {
		userId: 'john_doe',
		attributes: { name: 'Acme Inc' },
		meta: { active: true },
	})
	await client.updateCompany(101112231415, { userId: 1234567890 })
	for (let n = 0; n < Number(count); n++) {
		await client.track(n % 2 ? 'john_doe' : 1234567890, 'Sent message ♥', { attributes: { n } })
	}
	await client.track('john_doe', 'huddle', { companyId: 'other', meta: { active: false } })
	const bound = client.bindClient({ user: { id: 'john_doe' }, company: { id: 'acme_inc' } })
	bound.getFeature('no-such-feature').isEnabled
	await client.flush()
	console.log(JSON.stringify({ warnings, initialized }))
}

main().catch((error) => {
	console.error(error)
	process.exit(1)
})

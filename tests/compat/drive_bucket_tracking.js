// A backend that uses the official client @bucketco/tracking-sdk as its README says.
//
//     node drive_bucket_tracking.js TRACKING_KEY HOST EVENTS
//
// Prints the status of every answer, and what the client made of the answer to its feedback.
'use strict'

const bucket = require('@bucketco/tracking-sdk')
const [key, host, count] = process.argv.slice(2)

async function main() {
	bucket.init(key, { host })
	const statuses = []
	const did = async (answer) => statuses.push((await answer).status)
	await did(bucket.user(1234567890, { name: 'Rasmus Makwarth', custom_property: true, some_number: 12 }))
	await did(bucket.company(101112231415, { name: 'Acme Corp', monthly_spend: 99 }, 1234567890))
	for (let n = 0; n < Number(count); n++) {
		await did(bucket.track('Sent message ♥', { n, position: 'popover' }, 1234567890))
	}
	await did(bucket.track('away', null, 1234567890, 'other', { active: false }))
	const first = await bucket.feedback({ featureId: 'my_feature_id', userId: 1234567890, score: 4 })
	statuses.push(first.status)
	const { feedbackId } = await first.json()
	const more = { feedbackId, featureId: 'my_feature_id', userId: 1234567890, score: 4, comment: 'nice' }
	await did(bucket.feedback(more))
	console.log(JSON.stringify({ statuses, feedbackId }))
}

main().catch((error) => {
	console.error(error)
	process.exit(1)
})

// An app that uses the official client nucleus-nodejs as its README says, and leaves when everything
// it tracked has been acknowledged (its queue is empty) or after a deadline.
//
//     node drive_nucleus.js APP_ID ENDPOINT EVENTS [PAUSE_MS]
//
// With PAUSE_MS it tracks an event now and then, as an app does that is in use for a while.
//
// Prints one JSON object: the ids of all it queued, and how many were still unacknowledged at the end.
'use strict'

const [appId, endpoint, count, pauseMs] = process.argv.slice(2)
const stored = new Map()

// What the client makes of each call is seen where it sends it. Its ids are random numbers up to a
// million and may repeat, so an event is known by its whole text.
const WebSocket = require('ws')
const send = WebSocket.prototype.send
const waiting = new Set()
WebSocket.prototype.send = function (text, ...rest) {
	for (const event of JSON.parse(text).data) {
		const whole = JSON.stringify(event)
		if (event.type !== 'heartbeat' && !stored.has(whole)) {
			stored.set(whole, event)
			waiting.add(event.id)
		}
	}
	if (!this.watched) {
		this.watched = true
		this.on('message', (answer) => {
			for (const id of JSON.parse(answer).reportedIds || []) waiting.delete(id)
		})
	}
	return send.call(this, text, ...rest)
}

const Nucleus = require('nucleus-nodejs')
Nucleus.init(appId, { endpoint, reportInterval: 0.2, disableErrorReports: true })
Nucleus.setUserId('richard_hendrix')
Nucleus.setProps({ plan: 'pro', seats: 3, beta: true })
Nucleus.appStarted()
const track = (n) => Nucleus.track('PLAYED_TRACK', { trackName: 'My Awesome Song ♥', duration: 120 + n })
for (let n = 0; n < Number(count); n++) {
	if (pauseMs) setTimeout(track, n * Number(pauseMs), n)
	else track(n)
}
Nucleus.trackError('myCustomError', new Error('boom'))

const deadline = Date.now() + (pauseMs ? 60000 : 20000)
const expected = Number(count) + 2
setInterval(() => {
	const done = stored.size >= expected && waiting.size === 0
	if (!done && Date.now() < deadline) return
	console.log(JSON.stringify({ stored: [...stored.values()], unacknowledged: waiting.size }))
	process.exit(done ? 0 : 1)
}, 50)

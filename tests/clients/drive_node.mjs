// A program with the JavaScript client in it, which does as the lines of its standard input say.
import readline from "node:readline";
import { Homing } from "../../clients/javascript/homing-client.cjs";

const told = [];
const client = new Homing(process.env.APP_ID ?? "bench", { debug: (sentence) => told.push(sentence) });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function oddPayloads() {
  const circle = {};
  circle.again = circle;
  let deep = {};
  for (let n = 0; n < 100_000; n += 1) deep = { in: deep };
  const rude = { toJSON() { throw new Error("no"); } };
  const ruder = { toJSON() { throw { toString() { throw null; } }; } };
  return [
    circle,
    deep,
    { not: NaN },
    { big: 1n },
    { lone: "\ud800" },
    { large: "x".repeat(40_000) },
    [1],
    "text",
    7,
    rude,
    { ruder },
  ];
}

const does = {
  async track({ from = 0, count, pad = 0, by = 0, pause_s: pauseS }) {
    const took = [];
    const padding = "x".repeat(pad);
    for (let n = from; n < from + count; n += 1) {
      const began = performance.now();
      client.track("step", { n, pad: padding, by });
      took.push(performance.now() - began);
      if (pauseS && n % 10 === 9) await pause(pauseS * 1000);
    }
    took.sort((a, b) => a - b);
    return { p99_ms: took[Math.floor((took.length * 99) / 100)], max_ms: took.at(-1) };
  },
  flush: ({ s }) => client.flush(s * 1000),
  stats: () => client.stats(),
  told: () => told,
  identify: ({ user }) => client.identify(user),
  props: ({ props }) => client.setProps(props),
  error({ long = 0 }) {
    client.error("boom", new Error("that went wrong" + " and on".repeat(long)), { where: "here" });
  },
  odd() {
    for (const payload of oddPayloads()) client.track("odd", payload);
    client.error("odd", undefined, { get gone() { throw new Error("no"); } });
    client.setProps({ get gone() { throw new Error("no"); } });
    client.track({ toString() { throw new Error("no"); } });
  },
  close: () => client.close(),
  exit: () => process.exit(0),
  throw() {
    throw new Error("uncaught");
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const said = JSON.parse(line);
  const answer = await does[said.do](said);
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
}

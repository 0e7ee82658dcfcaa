import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { packageRoot } from "../../../attention/root.ts";
import { PeerMissing } from "../../../bench/compare/peer.ts";
import { WorkerSystem } from "../../../bench/compare/worker-system.ts";

const started: WorkerSystem[] = [];
afterEach(() => {
  for (const system of started.splice(0)) system.close();
});

/** A worker in Node that answers each request with what `answers`, a JavaScript expression of `request`, is. */
function inNode(answers: string, greeting = `{ versions: { fake: "1" }, vocabSize: 8, layers: 2 }`) {
  const script = `
    const say = (answer) => console.log(JSON.stringify(answer));
    say(${greeting});
    require("node:readline").createInterface(process.stdin).on("line", (line) => {
      const request = JSON.parse(line);
      say(${answers});
    });`;
  return start("fake", process.execPath, ["-e", script]);
}

/** The real loop of the workers in Python around a fake model. */
function inPython(body: string) {
  const folder = join(packageRoot(), "bench", "compare", "python");
  return start("fake", "python3", ["-c", `import sys\nsys.path.insert(0, ${JSON.stringify(folder)})\n${body}`]);
}

async function start(name: string, program: string, args: string[]): Promise<WorkerSystem> {
  const system = await WorkerSystem.start({ name, program, args });
  started.push(system);
  return system;
}

const round = { variant: "dense", context: 4, batch: 2, tokens: [1, 2, 3, 4, 5, 6] };

it("asks for each of a system's calls, and takes the answers apart", async () => {
  const system = await inNode(`request.do === "cpu" ? { seconds: 1.5 }
    : request.do === "fill" ? { seconds: request.tokens.length }
    : request.do === "check" ? { top: request.prompt, finite: true }
    : { milliseconds: [request.context, request.batch, request.steps, ...(request.tokens ?? [])], finite: true }`);
  expect(system).toMatchObject({ name: "fake", versions: { fake: "1" }, vocabSize: 8, layers: 2, variants: ["dense"] });
  await system.open(20, 2);
  expect(await system.fill([1, 2, 3])).toBe(3);
  await system.refill([1]);
  expect(await system.check([7, 6])).toEqual([7, 6]);
  expect(await system.decode(round)).toEqual([4, 2, 3, 1, 2, 3, 4, 5, 6]);
  expect(await system.cpuSeconds()).toBe(1.5);
});

it("refuses logits that are no numbers", async () => {
  const system = await inNode(`{ milliseconds: [1], top: [1], finite: false }`);
  await expect(system.decode(round)).rejects.toThrow("fake gave a logit that is not finite");
  await expect(system.check([1])).rejects.toThrow("fake gave a logit that is not finite");
});

it("tells what is missing from what fails", async () => {
  await expect(inNode("{}", `{ missing: "no torch" }`)).rejects.toThrow(new PeerMissing("no torch"));
  await expect(inNode("{}", `{ error: "no such file" }`)).rejects.toThrow("fake: no such file");
  const system = await inNode(`{ missing: "too long" }`);
  await expect(system.decode(round)).rejects.toThrow(new PeerMissing("too long"));
  await expect(
    start("fake", process.execPath, ["-e", "console.error('out of memory'); process.exit(3)"]),
  ).rejects.toThrow("fake's process ended: out of memory");
});

const model = `
from worker import load_packages, serve
class Model:
    versions, vocab_size, layers = {"fake": "1"}, 8, 2
    def check(self, prompt):
        print("libraries print")
        return {"top": prompt, "finite": True}
    def decode(self, context, batch, steps, tokens):
        raise ValueError(f"{context} positions")
`;

it("workers in Python speak the same", async () => {
  const system = await inPython(`${model}\nserve(Model)`);
  expect(system).toMatchObject({ versions: { fake: "1" }, vocabSize: 8, layers: 2 });
  expect(await system.check([3, 1])).toEqual([3, 1]);
  expect(await system.cpuSeconds()).toBeGreaterThan(0);
  await expect(system.decode(round)).rejects.toThrow(/^fake: ValueError: 4 positions/);
  await expect(system.check([1])).rejects.toThrow("fake's process ended");
});

it("workers in Python say how to get a package", async () => {
  const missing = inPython(`${model}\nserve(lambda: load_packages("no_such_package"))`);
  await expect(missing).rejects.toThrow(PeerMissing);
  await expect(missing).rejects.toThrow(/No module named 'no_such_package'.* -m pip install -r .*requirements\.txt$/);
});

import { expect, it } from "vitest";
import type { ServeOptions } from "../../../bench/serve/command.ts";
import { roundFigures } from "../../../bench/serve/metrics.ts";
import { warningsOf } from "../../../bench/serve/report.ts";
import { commandOf, settingsOf } from "../../../bench/serve/settings.ts";
import type { Timeline } from "../../../bench/serve/timeline.ts";
import { idleClient, timeline } from "./timelines.ts";

const warnings = (given: Partial<Timeline>, lagP99 = 0, concurrency: number | null = null, shared = 0) => {
  const expected = { outputTokens: 3, ignoreEos: true, usage: true };
  const client = { ...idleClient, lagP99 };
  const round = roundFigures({ timelines: [timeline(given)], client }, [expected], 2, undefined);
  return warningsOf({ load: { rate: 2, concurrency }, rounds: [round] }, shared);
};

it("warns of what makes figures doubtful", () => {
  expect(warnings({})).toEqual([]);
  expect(warnings({}, 12)[0]).toMatch(/^rate 2, concurrency none: the clients' event loop was 12\.0 ms late/);
  const late = { sent: 25, chunks: [30, 31] };
  expect(warnings(late)[0]).toMatch(/sent 25 ms late \(p99\), since the client was busy/);
  expect(warnings(late, 0, 4)[0]).toMatch(/concurrency 4: .* since there was no place for them/);
  expect(warnings({ resent: true })[0]).toMatch(/1 requests were sent twice/);
  expect(warnings({ cachedTokens: 4 })[0]).toMatch(/most of the prompts cached/);
  expect(warnings({ cachedTokens: 4 }, 0, null, 2)).toEqual([]);
});

const options: ServeOptions = {
  ...{
    url: "http://me:password@host:1/v1?key=secret",
    endpoint: "chat",
    requests: 4,
    rate: [0.5, Infinity],
    burstiness: Infinity,
  },
  ...{
    inputTokens: 9,
    sharedPrefixTokens: 0,
    rounds: 3,
    warmup: 1,
    header: [["X-Key", "secret"]],
    extraBody: { top_p: 0.9 },
  },
  ...{ goodput: { ttft: 5, e2el: 7 }, ignoreEos: false, timeout: 60, seed: 1 },
};

it("can be run again from what a record says, but for its secrets", () => {
  const command = commandOf(options);
  expect(command).toContain("--url http://host:1/v1 ");
  expect(command).toContain("--rate 0.5,inf --burstiness inf --goodput ttft:5,e2el:7 --extra-body '{\"top_p\":0.9}'");
  expect(command).toMatch(/ --no-ignore-eos --header 'X-Key: \.\.\.'$/);
  expect(`${command}${JSON.stringify(settingsOf(options))}`).not.toMatch(/password|secret/);
});

import type { Choice, Outcome } from "./client.ts";
import { MARKER, type SoakRequest } from "./traffic.ts";

/** What came of one request, however often it was asked. */
export interface Account {
  readonly request: SoakRequest;
  /** Different complete answers; more than one is a fault. */
  readonly answers: Map<string, readonly Choice[]>;
  /** What clients had when they left. */
  readonly parts: (readonly Choice[])[];
}

/** Keeps what clients were answered, and what is wrong with it. */
export class Ledger {
  readonly accounts = new Map<string, Account>();
  readonly counts = { answered: 0, left: 0, leftInStream: 0, refused: 0, busy: 0, tokens: 0 };
  readonly problems: string[] = [];

  /** Takes in an outcome. Mutates. */
  record(request: SoakRequest, outcome: Outcome): void {
    const problem = this.take(request, outcome);
    if (problem !== null) this.complain(request, problem);
  }

  /** Compares with what the request is answered alone. Mutates. */
  compare({ request, answers, parts }: Account, alone: Outcome): void {
    if (alone.kind !== "answered") {
      this.complain(request, `alone it is ${JSON.stringify(alone)}`);
      return;
    }
    const expected = JSON.stringify(alone.choices);
    for (const answer of answers.keys()) {
      if (answer !== expected) this.complain(request, `answered ${answer}\n  alone    ${expected}`);
    }
    for (const choices of parts) {
      const wrong = choices.findIndex((choice, i) => choice && !alone.choices[i]?.text.startsWith(choice.text));
      if (wrong < 0) continue;
      this.complain(request, `had ${JSON.stringify(choices[wrong])} when it left\n  alone ${expected}`);
    }
  }

  /** Counts and keeps an outcome; says what is wrong with it. Mutates. */
  private take(request: SoakRequest, outcome: Outcome): string | null {
    const { counts } = this;
    if (outcome.kind === "failed") return outcome.message;
    if (outcome.kind === "refused") {
      const { status, message } = outcome;
      if (status === 429) counts.busy += 1;
      else if (status === request.refusal) counts.refused += 1;
      else return `refused with ${status}: ${message}`;
      return null;
    }
    const { kind, choices } = outcome;
    if (kind === "answered" && request.refusal !== null) return `answered, but must be refused with ${request.refusal}`;
    const account = this.accountOf(request);
    if (kind === "answered") {
      counts.answered += 1;
      counts.tokens += outcome.tokens;
      account.answers.set(JSON.stringify(choices), choices);
    } else {
      counts.left += 1;
      if (choices.length > 0) {
        counts.leftInStream += 1;
        account.parts.push(choices);
      }
    }
    const markers = choices.flatMap((choice) => choice?.text.match(MARKER) ?? []);
    const foreign = markers.find((marker) => marker !== request.marker);
    return foreign === undefined ? null : `the answer has the marker ${foreign} of another request`;
  }

  private accountOf(request: SoakRequest): Account {
    const known = this.accounts.get(request.marker);
    if (known !== undefined) return known;
    const account: Account = { request, answers: new Map(), parts: [] };
    this.accounts.set(request.marker, account);
    return account;
  }

  private complain({ path, marker, body }: SoakRequest, what: string): void {
    const { prompt: _prompt, messages: _messages, ...settings } = body;
    this.problems.push(`${path} ${marker} ${JSON.stringify(settings)}: ${what}`);
  }
}

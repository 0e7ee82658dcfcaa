import { describe, expect, it } from "vitest";
import { messagesOf, restoreTurns, type Turn } from "../../server/page/app/turns.ts";

const turn = (id: number, question: string, answer: string, state: Turn["state"] = "done"): Turn => {
  return { id, question, answer, state };
};

describe("messagesOf", () => {
  it("sends the system prompt, the context before the first question, and the turns", () => {
    const turns = [turn(1, "Who?", "Alice."), turn(2, "Where?", "", "running")];
    expect(messagesOf(turns, "Be brief.", "A book.")).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "A book.\n\nWho?" },
      { role: "assistant", content: "Alice." },
      { role: "user", content: "Where?" },
    ]);
    expect(messagesOf([turn(1, "Who?", "", "running")], " ", "\n")).toEqual([{ role: "user", content: "Who?" }]);
  });

  it("leaves out questions that got no answer, so that roles take turns", () => {
    const turns = [turn(1, "a", "", "failed"), turn(2, "b", "cut sh", "stopped"), turn(3, "c", "", "running")];
    const messages = messagesOf(turns, "", "ctx");
    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "user"]);
    expect(messages[0]!.content).toBe("ctx\n\nb");
  });
});

describe("restoreTurns", () => {
  it("brings a conversation back, with nothing running", () => {
    const turns = [turn(4, "a", "b"), turn(5, "c", "d", "running")];
    expect(restoreTurns(JSON.parse(JSON.stringify(turns)))).toEqual([turn(0, "a", "b"), turn(1, "c", "d", "stopped")]);
  });

  it("drops what is no turn", () => {
    expect(restoreTurns({ question: "a" })).toEqual([]);
    expect(restoreTurns([null, 3, { question: "a" }, turn(0, "q", "a")])).toEqual([turn(0, "q", "a")]);
  });
});

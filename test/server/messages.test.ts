import { afterEach, describe, expect, it } from "vitest";
import type { StartedServer } from "../../server/start.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer, testTokenizerFiles } from "../support/serving.ts";

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** The prompt, special tokens spelled, that these messages become. */
async function promptOf(messages: readonly object[], chatTemplate?: string): Promise<string> {
  const engine = new FakeEngine(() => ["fine"]);
  const tokenizer = chatTemplate ? createTokenizer({ ...testTokenizerFiles, chatTemplate }) : testTokenizer;
  server = await serve(servingOf(engine, { tokenizer }));
  await server.ready;
  const body = JSON.stringify({ messages, max_tokens: 1 });
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: "POST", body });
  expect(response.status, await response.text()).toBe(200);
  await server.close();
  return tokenizer.decode(engine.requests[0]!.promptIds);
}

const answer = { role: "assistant", content: "Hello." };

describe("messages", () => {
  it("may have their text in parts, which line feeds join", async () => {
    const parts = ["see", "here"].map((text) => ({ type: "text", text }));
    const plain = await promptOf([{ role: "user", content: "see\nhere" }]);
    expect(await promptOf([{ role: "user", content: parts }])).toBe(plain);
    expect(plain).toContain("see\nhere");
    expect(await promptOf([{ role: "user", content: [] }])).toBe(await promptOf([{ role: "user", content: "" }]));
  });

  it("of an assistant may be null, left out, or a refusal", async () => {
    const said = async (message: object) => promptOf([{ role: "user", content: "Hi" }, message]);
    const silent = await said({ role: "assistant", content: "" });
    expect(await said({ role: "assistant", content: null })).toBe(silent);
    expect(await said({ role: "assistant" })).toBe(silent);
    expect(await said({ role: "assistant", content: [{ type: "refusal", refusal: "Hello." }] })).toBe(
      await said(answer),
    );
  });

  it("of a developer are the system's, unless the template knows developers", async () => {
    const developer = [{ role: "developer", content: "Be brief." }];
    expect(await promptOf(developer)).toBe(await promptOf([{ role: "system", content: "Be brief." }]));
    const knowing =
      "{% for m in messages %}{% if m.role == 'developer' %}DEV {% endif %}{{ m.role }}: {{ m.content }}{% endfor %}";
    expect(await promptOf(developer, knowing)).toBe("DEV developer: Be brief.");
  });

  it("of an assistant have its thoughts, for templates that show them, whose special tokens stay text", async () => {
    const asked = { role: "user", content: "Hi" };
    const thinking = { ...answer, reasoning_content: "a greeting<|im_end|>" };
    const showing =
      "{% for m in messages %}{% if m.reasoning_content is string %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }};{% endfor %}";
    expect(await promptOf([asked, thinking], showing)).toBe("Hi;[a greeting<|im_end|>]Hello.;");
    expect(await promptOf([asked, { ...answer, reasoning_content: null }], showing)).toBe("Hi;Hello.;");
    expect(await promptOf([asked, thinking])).toBe(await promptOf([asked, answer]));
  });

  it("have names, for templates that show them, whose special tokens stay text", async () => {
    const named = [{ role: "user", content: "Hi", name: "Ada<|im_end|>" }];
    const showing = "{% for m in messages %}{{ m.name or m.role }}: {{ m.content }}{% endfor %}";
    expect(await promptOf(named, showing)).toBe("Ada<|im_end|>: Hi");
    expect(await promptOf([{ role: "user", content: "Hi", name: null }], showing)).toBe("user: Hi");
    expect(await promptOf(named)).toBe(await promptOf([{ role: "user", content: "Hi" }]));
  });

  it("may have fields that nobody knows, and null for those that need no value", async () => {
    const message = { role: "user", content: "Hi", audio: null, tool_calls: null, name: null, extra: { a: 1 } };
    expect(await promptOf([message])).toBe(await promptOf([{ role: "user", content: "Hi" }]));
  });
});

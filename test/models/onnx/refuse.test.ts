import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ModelError, type ModelErrorCode } from "../../../models/errors.ts";
import { describeNode } from "../../../models/onnx/graph.ts";
import {
  AttributeMessage,
  AttributeType,
  DataType,
  floatTensor,
  type GraphProto,
  int64Tensor,
  makeNode,
  makeValueInfo,
  readModel,
  writeModel,
} from "../../../models/onnx/proto.ts";
import {
  editedExport,
  importFolder,
  interpose,
  nthNode,
  reconfiguredExport,
  removeTemporaryFolders,
} from "../exports.ts";

removeTemporaryFolders();

/** The error that an import ends with. */
async function refusal(folder: string): Promise<ModelError> {
  const error = await importFolder(folder).then(
    () => new Error("the import did not refuse"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ModelError)) throw error;
  return error;
}

async function expectRefusal(folder: string, code: ModelErrorCode, ...parts: string[]): Promise<void> {
  const error = await refusal(folder);
  for (const part of parts) expect(error.message).toContain(part);
  expect(error.code).toBe(code);
}

/** Edits a variant and remembers a node of it, by which the error must call the place. */
async function expectUnproven(variant: string, edit: (graph: GraphProto) => string, ...parts: string[]): Promise<void> {
  let place = "";
  const folder = editedExport(variant, (graph) => {
    place = edit(graph);
  });
  await expectRefusal(folder, "attention_unproven", place, ...parts);
}

const dynamo = "llama-dynamo-sdpa-18";
const script = "llama-script-sdpa-14";

describe("masks that are not causal", () => {
  it.each([dynamo, script, "neox-dynamo-sdpa-18"])(
    "refuses %s when every position sees every other",
    async (variant) => {
      await expectUnproven(
        variant,
        (graph) => {
          const compare = nthNode(graph, "LessOrEqual");
          compare.input[1] = compare.input[0]!;
          return describeNode(nthNode(graph, "Softmax"));
        },
        "layer 0",
        "7 tokens behind 0 cached ones",
      );
    },
  );

  it.each([1, 100, 127])("refuses a hidden window of %i positions, of 128", async (window) => {
    await expectUnproven(
      dynamo,
      (graph) => {
        const compare = nthNode(graph, "LessOrEqual");
        const [key, query] = compare.input as [string, string];
        graph.initializer.push(int64Tensor("window", [], [window]));
        const and = nthNode(graph, "And");
        interpose(
          graph,
          and,
          compare.output[0]!,
          "windowed",
          makeNode("Sub", [query, "window"], ["oldest"]),
          makeNode("Greater", [key, "oldest"], ["near"]),
          makeNode("And", ["near", compare.output[0]!], ["windowed"]),
        );
        return describeNode(nthNode(graph, "Softmax"));
      },
      window === 1 ? "7 tokens behind 0" : "2 tokens behind 126 cached ones",
    );
  });

  it("refuses a mask that depends on the token ids", async () => {
    const folder = editedExport(dynamo, (graph) => {
      graph.initializer.push(int64Tensor("padding", [], [3]), int64Tensor("axes", [2], [1, 2]));
      const and = nthNode(graph, "And");
      const mask = and.input[1]!;
      interpose(
        graph,
        and,
        mask,
        "padded",
        makeNode("Equal", ["input_ids", "padding"], ["is_padding"], {}, { name: "find_padding" }),
        makeNode("Not", ["is_padding"], ["is_text"]),
        makeNode("Unsqueeze", ["is_text", "axes"], ["text_mask"]),
        makeNode("And", [mask, "text_mask"], ["padded"]),
      );
    });
    await expectRefusal(folder, "attention_unproven", 'node "find_padding" (Equal)', "token ids");
  });
});

describe("other arithmetic in the attention", () => {
  it.each([dynamo, script, "neox-script-eager-17-serial"])(
    "refuses tanh on the scores of %s by its node",
    async (variant) => {
      const folder = editedExport(variant, (graph) => {
        const softmax = nthNode(graph, "Softmax", 1);
        const scores = softmax.input[0]!;
        interpose(graph, softmax, scores, "capped", makeNode("Tanh", [scores], ["capped"], {}, { name: "softcap" }));
      });
      await expectRefusal(folder, "attention_unproven", 'node "softcap" (Tanh)', "layer 1");
    },
  );

  it("refuses a softcap of opset 23's Attention", async () => {
    await expectUnproven(
      "llama-dynamo-sdpa-23",
      (graph) => {
        const attention = nthNode(graph, "Attention");
        attention.attribute = attention.attribute.filter(({ name }) => name !== "softcap");
        attention.attribute.push(AttributeMessage.create({ name: "softcap", type: AttributeType.FLOAT, f: 30 }));
        return describeNode(attention);
      },
      "softcap",
    );
  });

  it.each([
    // Norms over the last dimension alone may be there; over more they would let tokens meet.
    [
      "LayerNormalization",
      (x: string) => makeNode("LayerNormalization", [x, "ones"], ["normed"], { axis: 1 }, { name: "q_norm" }),
    ],
    ["LpNormalization", (x: string) => makeNode("LpNormalization", [x], ["normed"], {}, { name: "q_norm" })],
    ["Mul", (x: string) => makeNode("Mul", [x, x], ["normed"], {}, { name: "q_norm" })],
    ["Relu", (x: string) => makeNode("Relu", [x], ["normed"], {}, { name: "q_norm" })],
  ] as const)("refuses %s on the queries by its node", async (opType, make) => {
    const folder = editedExport(dynamo, (graph) => {
      graph.initializer.push(floatTensor("ones", [1], Float32Array.of(1)));
      // The first two activations that are multiplied: queries by cosines.
      const reader = graph.node.find(
        ({ opType: type, input }) =>
          type === "Mul" && graph.node.some((n) => n.opType === "Transpose" && n.output[0] === input[0]),
      )!;
      interpose(graph, reader, reader.input[0]!, "normed", make(reader.input[0]!));
    });
    await expectRefusal(folder, "attention_unproven", `node "q_norm" (${opType})`, "layer 0", "query");
  });

  it("refuses a norm on half of the queries", async () => {
    const folder = editedExport(dynamo, (graph) => {
      graph.initializer.push(floatTensor("ones", [1], Float32Array.of(1)));
      const reader = graph.node.find(
        ({ opType: type, input }) =>
          type === "Mul" && graph.node.some((n) => n.opType === "Transpose" && n.output[0] === input[0]),
      )!;
      const norm = makeNode("LayerNormalization", [reader.input[0]!, "ones"], ["normed"]);
      interpose(graph, reader, reader.input[0]!, "normed", norm);
    });
    await expectRefusal(folder, "attention_unproven", "layer 0", "query comes from 2 projections", '"normed"');
  });

  it("refuses a scale that is not 1/sqrt(head dim)", async () => {
    await expectUnproven(
      script,
      (graph) => {
        const softmax = nthNode(graph, "Softmax");
        graph.initializer.push(floatTensor("scale", [], Float32Array.of(1.01)));
        interpose(
          graph,
          softmax,
          softmax.input[0]!,
          "scaled",
          makeNode("Mul", [softmax.input[0]!, "scale"], ["scaled"]),
        );
        return describeNode(softmax);
      },
      "7 tokens behind 0",
    );
  });

  it("refuses weights that are changed after the softmax", async () => {
    const folder = editedExport(script, (graph) => {
      const softmax = nthNode(graph, "Softmax");
      const reader = graph.node.find(({ input }) => input.includes(softmax.output[0]!))!;
      const clip = makeNode("Clip", [softmax.output[0]!], ["clipped"], {}, { name: "clip_weights" });
      interpose(graph, reader, softmax.output[0]!, "clipped", clip);
    });
    await expectRefusal(folder, "attention_unproven", 'node "clip_weights" (Clip)', "layer 0");
  });

  it("refuses a softmax over another axis", async () => {
    await expectUnproven(script, (graph) => {
      const softmax = nthNode(graph, "Softmax");
      softmax.attribute = makeNode("Softmax", [], [], { axis: 1 }).attribute;
      return describeNode(softmax);
    });
  });
});

describe("a configuration that does not fit the graph", () => {
  it.each([
    ["theta", { rope_type: "default", rope_theta: 10_100 }],
    ["scaling", { rope_type: "linear", rope_theta: 10_000, factor: 2 }],
  ])("refuses another rope %s, naming the node", async (_, rope_parameters) => {
    await expectRefusal(
      reconfiguredExport(dynamo, { rope_parameters }),
      "attention_unproven",
      "layer 0",
      "(Softmax)",
      "config.json's heads and rope",
    );
  });

  it("refuses another share of rotated components", async () => {
    const folder = reconfiguredExport("neox-dynamo-sdpa-18", {
      rope_parameters: { rope_type: "default", rope_theta: 10_000, partial_rotary_factor: 1 },
    });
    await expectRefusal(folder, "attention_unproven", "layer 0");
  });

  it("refuses other numbers of heads, with the widths", async () => {
    const folder = reconfiguredExport(dynamo, { num_attention_heads: 4 });
    await expectRefusal(folder, "attention_unproven", "4 heads and 2 KV heads of 8", "wide");
  });

  it("refuses the same widths split into other heads", async () => {
    const folder = reconfiguredExport(script, { num_attention_heads: 6, num_key_value_heads: 6, head_dim: 4 });
    await expectRefusal(folder, "unsupported_config", "3 heads of 8", "6 KV heads of 4");
  });

  it("refuses another number of layers, with both", async () => {
    await expectRefusal(
      reconfiguredExport(dynamo, { num_hidden_layers: 3 }),
      "attention_unproven",
      "2 attentions",
      "num_hidden_layers = 3",
    );
  });

  it("refuses another vocabulary, with both sizes", async () => {
    await expectRefusal(reconfiguredExport(dynamo, { vocab_size: 57 }), "unsupported_config", "vocab_size = 57", "56");
  });

  it("refuses more positions than a graph without a cache can be tried on", async () => {
    const folder = reconfiguredExport("llama-dynamo-sdpa-18-no-past", { max_position_embeddings: 1_000_000 });
    await expectRefusal(folder, "attention_unproven", "no past_key_values", "1000000 positions");
  });
});

describe("graphs that are no such decoder", () => {
  it("names an input that it does not know", async () => {
    const folder = editedExport(dynamo, (graph) => {
      graph.input.push(makeValueInfo("pixel_values", DataType.FLOAT, [1, 3, 8]));
    });
    await expectRefusal(folder, "unsupported_graph", '"pixel_values"');
  });

  it("asks for a graph whose types agree", async () => {
    const folder = editedExport(dynamo, (graph) => {
      const past = graph.input.find(({ name }) => name.startsWith("past_key_values"))!;
      past.type!.tensorType!.elemType = DataType.FLOAT16;
    });
    await expectRefusal(folder, "unsupported_graph", "ONNX Runtime does not take", "float16");
  });

  it("names a node with a graph inside", async () => {
    const folder = editedExport(dynamo, (graph) => {
      const branch = AttributeMessage.create({
        name: "then_branch",
        type: AttributeType.GRAPH,
        g: { ...graph, node: [], initializer: [], input: [], output: [], valueInfo: [] },
      });
      graph.node.push({
        ...makeNode("If", ["attention_mask"], ["chosen"], {}, { name: "merged" }),
        attribute: [branch],
      });
    });
    await expectRefusal(folder, "unsupported_graph", 'node "merged" (If)');
  });

  it("names a function of the model's own", async () => {
    const folder = editedExport(dynamo);
    const path = join(folder, "model.onnx");
    const model = readModel(path);
    model.functions.push({ name: "Gelu", domain: "my.domain" } as (typeof model.functions)[number]);
    writeModel(path, model);
    await expectRefusal(folder, "unsupported_graph", "my.domain.Gelu");
  });

  it("needs logits", async () => {
    const folder = editedExport(dynamo, (graph) => {
      graph.output = graph.output.filter(({ name }) => name !== "logits");
    });
    await expectRefusal(folder, "unsupported_graph", 'no output "logits"', "present.0.key");
  });

  it("names a node outside of the attentions that reads a removed input", async () => {
    const folder = editedExport(dynamo, (graph) => {
      const embedding = nthNode(graph, "Gather");
      const [hidden] = embedding.output as [string];
      const moved = `${hidden}_plain`;
      embedding.output = [moved];
      graph.initializer.push(int64Tensor("last", [1], [2]));
      graph.node.splice(
        graph.node.indexOf(embedding) + 1,
        0,
        makeNode("Cast", ["position_ids"], ["float_positions"], { to: DataType.FLOAT }, { name: "learned_positions" }),
        makeNode("Unsqueeze", ["float_positions", "last"], ["position_rows"]),
        makeNode("Add", [moved, "position_rows"], [hidden]),
      );
    });
    await expectRefusal(folder, "unsupported_graph", 'node "learned_positions" (Cast)', '"position_ids"');
  });

  it("refuses keys and values of one layer that come from two projections", async () => {
    await expectUnproven(
      dynamo,
      (graph) => {
        const softmax = nthNode(graph, "Softmax");
        // Layer 0's present keys get a second source: the same layer's values are added to them.
        const concat = graph.node.find(
          ({ opType, input }) => opType === "Concat" && input[0] === "past_key_values.0.key",
        )!;
        const values = graph.node.find(
          ({ opType, input }) => opType === "Concat" && input[0] === "past_key_values.0.value",
        )!;
        interpose(
          graph,
          concat,
          concat.input[1]!,
          "mixed",
          makeNode("Add", [concat.input[1]!, values.input[1]!], ["mixed"]),
        );
        return describeNode(softmax);
      },
      "key comes from 2 projections",
    );
  });
});

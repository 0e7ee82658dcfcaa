import type { PeerName } from "./command.ts";
import { llamaCpp } from "./llama-cpp.ts";
import { onnxruntime, transformersJs } from "./node-peers.ts";
import type { Peer } from "./peer.ts";
import { onnxruntimeGenai, transformers } from "./python-peers.ts";

export const peers: Readonly<Record<PeerName, Peer>> = {
  "llama.cpp": llamaCpp,
  onnxruntime,
  "transformers.js": transformersJs,
  transformers,
  "onnxruntime-genai": onnxruntimeGenai,
};

/**
 * Where the graph lies in a model's folder, likeliest first: as exporters write it today, and as Optimum wrote decoders until
 * 2024. Its decoder_model.onnx has no cache behind which to go on, and is taken by its name only.
 */
export const graphFiles: readonly string[] = [
  "model.onnx",
  "decoder_model_merged.onnx",
  "decoder_with_past_model.onnx",
].flatMap((name) => [name, `onnx/${name}`]);

/**
 * Of a folder's paths, the ONNX files that may be a model by another name, as "onnx/model_q4.onnx" may: at the top and in onnx/.
 */
export function otherGraphs(paths: readonly string[]): string[] {
  return paths.filter((path) => /^(onnx\/)?[^/]+\.onnx$/.test(path)).sort();
}

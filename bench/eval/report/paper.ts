/**
 * Results of the SparQ paper (arXiv 2312.04985v6) at dense attention, a half and an eighth of its traffic: larger models, whole
 * data sets.
 */
export const paperTasks = ["SQuAD", "TriviaQA", "CNN/DailyMail", "WikiText, bpc", "Repetition"] as const;

export const paperRows: readonly (readonly [model: string, ...values: string[]])[] = [
  [
    "Llama-2-13B",
    "80.8 / 80.7 / 74.9",
    "78.7 / 78.8 / 78.2",
    "22.1 / 22.5 / 21.6",
    ".61 / .61 / .70",
    "229 / 227 / 190",
  ],
  [
    "Llama-3-8B",
    "81.2 / 81.2 / 78.3",
    "83.2 / 83.0 / 82.8",
    "23.4 / 23.4 / 23.4",
    ".56 / .57 / .58",
    "213 / 214 / 213",
  ],
  [
    "Pythia-6.9B",
    "57.8 / 58.0 / 57.1",
    "52.6 / 52.4 / 51.7",
    "20.2 / 20.6 / 20.6",
    ".68 / .68 / .70",
    "150 / 151 / 144",
  ],
];

/** Of Llama-3-8B on SQuAD, at an eighth. */
export const paperBaselines = "SparQ 78.3, H2O 61.7, LM-Infinite (the first 16 and the last positions) 51.8";

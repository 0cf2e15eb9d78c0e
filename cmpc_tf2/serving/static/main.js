// The page: one input of the model, and the sentences about it.

import { byId, errors, make, save } from "./elements.js";
import { Input, RequestError, request } from "./http.js";
import { colorOf, decode, fileOf } from "./pixels.js";
import { Sentence } from "./sentence.js";
import { View } from "./view.js";

const view = new View();
const model = await request("v1/model");
const isVideo = model.medium === "clips";
const medium = isVideo ? "video" : "picture";
const isTouched = matchMedia("(pointer: coarse)").matches;

let input = null;
// Resolves once the picture that will be marked is shown; null if it has to be asked for.
let shown = null;
// Sentences that are marked or asked for.
const wanted = new Set();
// Numbers of the next colour, and of the last piece of work that waits for the server.
let count = 0;
let turn = 0;

const threshold = () => Number(byId("threshold").value);

/** Takes a file as the input of the model, and encodes it while the sentence is being written. */
async function choose(file) {
  errors.clear();
  if (file.size > model.limits.file_bytes) {
    return errors.show("file", `${file.name}: expected at most ${model.limits.file_bytes / 1e6} MB.`);
  }
  byId("file-name").textContent = byId("file-name").title = file.name;
  byId("moment").value = 0.5;
  byId("moment-value").textContent = "50 %";
  view.clear();
  wanted.clear();
  start(file);
  if (!isTouched) byId("sentence").focus({ preventScroll: true });
  await wait("Reading", () => show(input), false);
}

/** Starts anew with a file, at the moment of the slider. */
function start(file) {
  input?.cancel();
  removeAll();
  input = isVideo ? new Input("video", file, { moment: byId("moment").value }) : new Input("image", file, {});
  shown = null;
  show(input);
}

/** Encodes an input and shows its picture. */
function show(asked) {
  shown ??= prepare(asked).catch((error) => {
    if (asked === input) shown = null;
    throw error;
  });
  return shown;
}

async function prepare(asked) {
  const local = isVideo ? null : await createImageBitmap(asked.file).catch(() => null);
  if (asked !== input) return;
  if (local) view.showPicture(local, asked.file.name);
  const encoding = encode(asked, local);
  if (!local) await encoding;
  // While the server is busy, the picture is encoded with the first sentence.
  else encoding.catch((error) => error.field && report(error));
}

async function encode(asked, local) {
  const { height, width, picture } = await asked.encode();
  // The server turns some pictures otherwise, and reads formats that browsers do not.
  const isSame = local?.height === height && local?.width === width;
  if (!isSame && asked === input) view.showPicture(await decode(picture, "image/jpeg"), asked.file.name);
}

/** Marks sentences, in addition to those that are marked. */
async function mark(sentences) {
  errors.clear();
  const asked = [...new Set(sentences)].filter((sentence) => !wanted.has(sentence));
  const current = input;
  if (!current) return errors.show("file", `Choose a ${medium} first.`);
  if (!sentences.length) return errors.show("sentence", "Write what to mark, for example: the man in white.");
  if (wanted.size + asked.length > model.limits.expressions) {
    return errors.show("sentence", `At most ${model.limits.expressions} sentences; remove one first.`);
  }
  if (!asked.length) return;
  byId("sentence").value = "";
  for (const sentence of asked) wanted.add(sentence);
  if ((await wait("Marking", () => add(current, asked))) || current !== input) return;
  byId("sentence").value ||= asked[0];
  const marked = view.sentences.map(({ text }) => text);
  for (const sentence of asked) if (!marked.includes(sentence)) wanted.delete(sentence);
}

async function add(current, asked) {
  await show(current);
  const { segments } = await current.segment(asked, { mask_format: "probabilities" });
  for (const segment of segments) {
    const sentence = new Sentence(segment, colorOf(count++), view, () => remove(sentence));
    await sentence.prepare();
    sentence.mark(threshold());
    if (current !== input) return;
    view.sentences.push(sentence);
    byId("sentences").append(sentence.element);
    byId("results").hidden = false;
  }
  view.showHeat(null);
  await refine(current);
  redraw();
}

/** Gets the masks of DenseCRF that are missing, if they are wanted. */
async function refine(current) {
  const missing = view.sentences.filter(({ isRefined }) => !isRefined);
  if (!byId("dcrf").checked || !missing.length) return;
  const { segments } = await current.segment(missing.map(({ text }) => text), { mask_format: "png", dcrf: true });
  await Promise.all(segments.map((segment, index) => missing[index].refine(segment.mask)));
}

/** Runs work that waits for the server, and shows how long the answer took; returns whether it succeeded. */
async function wait(title, work, isTimed = true) {
  const mine = ++turn;
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  const finish = (status) => {
    if (mine !== turn) return; // Something else is waiting.
    byId("drop").ariaBusy = "false";
    byId("status").textContent = status;
  };
  byId("drop").ariaBusy = "true";
  byId("status").replaceChildren(make("span", { className: "spinner" }), `${title} …`);
  try {
    await work();
    finish(isTimed ? `Answered in ${seconds()} s` : "");
    return true;
  } catch (error) {
    finish("");
    report(error);
    return false;
  }
}

/** Shows an error next to the field that causes it. */
function report(error) {
  if (error.name === "AbortError") return; // Another file was chosen.
  if (!(error instanceof RequestError)) throw error;
  const name = { image: "file", video: "file", expressions: "sentence", dcrf: "dcrf" }[error.field] ?? "form";
  errors.show(name, error.message);
}

function redraw() {
  for (const sentence of view.sentences) sentence.mark(threshold());
  view.showHeat(null);
}

function remove(sentence) {
  sentence.element.remove();
  wanted.delete(sentence.text);
  view.sentences = view.sentences.filter((other) => other !== sentence);
  view.solo = null;
  byId("results").hidden = !view.sentences.length;
  view.showHeat(null);
  byId("sentence").focus({ preventScroll: true });
}

function removeAll() {
  view.sentences = [];
  view.solo = null;
  byId("sentences").replaceChildren();
  byId("results").hidden = true;
  byId("status").textContent = "";
  count = 0;
}

async function showExamples() {
  const examples = await request("examples.json");
  byId("examples").hidden = !examples.length;
  for (const { file, thumbnail, expressions } of examples) {
    const name = file.split("/").pop();
    let example = null;
    const run = async (sentences) => {
      if (!example || input?.file !== example) {
        const content = await (await fetch(file)).blob();
        example = new File([content], name, { type: content.type });
        await choose(example);
      }
      await mark(sentences);
    };
    const picture = make("img", { src: thumbnail, alt: `All sentences about ${name}` });
    const sentences = expressions.map((text) => make("button", { className: "small", onclick: () => run([text]) }, text));
    byId("examples").lastElementChild.append(
      make("li", {}, make("button", { className: "thumbnail", onclick: () => run(expressions) }, picture), make("div", {}, ...sentences)),
    );
  }
}

function listen() {
  byId("form").onsubmit = (event) => {
    event.preventDefault();
    if (isTouched) byId("sentence").blur(); // The keyboard would hide the answer.
    mark([byId("sentence").value.trim()].filter(Boolean));
  };
  byId("file").onchange = () => {
    const [file] = byId("file").files;
    byId("file").value = ""; // The same file can be chosen again.
    if (file) choose(file);
  };
  byId("threshold").oninput = () => {
    byId("threshold-value").textContent = threshold().toFixed(2);
    redraw();
  };
  byId("dcrf").onchange = async () => {
    errors.clear();
    if (!byId("dcrf").checked) await Promise.all(view.sentences.map((sentence) => sentence.refine(null)));
    else if (!(await wait("Aligning", () => refine(input)))) byId("dcrf").checked = false;
    byId("threshold").disabled = byId("dcrf").checked;
    redraw();
  };
  byId("moment").oninput = () => (byId("moment-value").textContent = `${Math.round(100 * byId("moment").value)} %`);
  byId("moment").onchange = async () => {
    if (!input) return;
    errors.clear();
    start(input.file);
    const sentences = [...wanted];
    wanted.clear();
    await (sentences.length ? mark(sentences) : wait("Reading", () => show(input), false));
  };
  byId("save-overlay").onclick = async () => save("marked.png", await fileOf(view.canvas));
  byId("save-answer").onclick = () =>
    wait("Marking", async () => {
      const fields = { threshold: threshold(), dcrf: byId("dcrf").checked };
      const answer = await input.segment(view.sentences.map(({ text }) => text), fields);
      save("masks.json", new Blob([JSON.stringify(answer)], { type: "application/json" }));
    });
  document.addEventListener("paste", ({ clipboardData }) => clipboardData.files.length && choose(clipboardData.files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
    });
  }
}

document.title = `${model.name}: referring segmentation`;
byId("model").textContent = `${model.name}, ${model.title}`;
for (const element of document.querySelectorAll(".medium")) element.textContent = medium;
byId("file").accept = isVideo ? ".mp4,.avi" : "image/*";
byId("moment-field").hidden = !isVideo;
byId("dcrf-field").hidden = !model.has_dcrf;
byId("sentence").maxLength = model.limits.characters;
listen();
await showExamples();
document.body.dataset.ready = "true";

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
const isBox = model.output === "boxes";
const isTouched = matchMedia("(pointer: coarse)").matches;

// The input whose picture is shown, and the one that sentences are asked about: the same, or one that is being read.
let accepted = null;
let input = null;
// Resolves once the picture that will be marked is shown; null if it has to be asked for.
let shown = null;
// A sentence that the model can answer, as an example; empty if none is known.
let sample = "";
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
  wanted.clear();
  start(file, 0.5);
  if (!isTouched) byId("sentence").focus({ preventScroll: true });
  await wait("Reading", () => show(input), `${isVideo ? "Video" : "Picture"} ready. Enter a sentence.`);
}

/** Reads a file as the next input, at a moment if it is a video. The input before stays until the server accepts it. */
function start(file, moment) {
  if (input !== accepted) input.cancel();
  input = isVideo ? new Input("video", file, { moment }) : new Input("image", file, {});
  shown = null;
  show(input);
}

/** Encodes an input and shows its picture. */
function show(asked) {
  shown ??= prepare(asked).catch((error) => {
    if (asked === input) goBack();
    throw error;
  });
  return shown;
}

async function prepare(asked) {
  const local = isVideo ? null : await createImageBitmap(asked.file).catch(() => null);
  if (asked !== input) return;
  if (local && !accepted) view.showPicture(local, asked.file.name);
  const encoded = await asked.encode().catch((error) => {
    // While the server is busy, the picture is encoded with the first sentence.
    if (!local || error.field || error.name === "AbortError") throw error;
  });
  // The server turns some pictures otherwise, and reads formats that browsers do not.
  const isSame = local && (!encoded || (local.height === encoded.height && local.width === encoded.width));
  const picture = isSame ? local : await decode(encoded.picture, "image/jpeg");
  if (asked === input) accept(asked, picture);
}

/** Shows the picture of an input in place of the one before and its sentences. */
function accept(asked, picture) {
  accepted?.cancel();
  accepted = asked;
  removeAll();
  byId("file-name").textContent = byId("file-name").title = asked.file.name;
  showMoment(asked.fields.moment ?? 0.5);
  view.showPicture(picture, asked.file.name);
}

/** The input that cannot be read is given up for the one before, if there is one. */
function goBack() {
  shown = null;
  if (!accepted) return view.clear();
  input = accepted;
  shown = Promise.resolve();
  showMoment(input.fields.moment ?? 0.5);
  wanted.clear();
  for (const { text } of view.sentences) wanted.add(text);
}

function showMoment(moment) {
  byId("moment").value = moment;
  byId("moment-value").textContent = `${Math.round(100 * moment)} %`;
}

/** Marks sentences, in addition to those that are marked. */
async function mark(sentences) {
  errors.clear();
  const asked = [...new Set(sentences)].filter((sentence) => !wanted.has(sentence));
  const current = input;
  if (!current) return errors.show("file", `Choose a ${medium} first.`);
  if (!sentences.length) return errors.show("sentence", `Write what to mark${sample && `, for example: ${sample}`}.`);
  if (wanted.size + asked.length > model.limits.expressions) {
    return errors.show("sentence", `At most ${model.limits.expressions} sentences; remove one first.`);
  }
  if (!asked.length) return;
  byId("sentence").value = "";
  for (const sentence of asked) wanted.add(sentence);
  const isMarked = await wait("Marking", () => add(current, asked));
  if (isMarked || (current !== input && input !== accepted)) return; // Otherwise another input is being read.
  byId("sentence").value ||= asked[0];
  const marked = view.sentences.map(({ text }) => text);
  for (const sentence of asked) if (!marked.includes(sentence)) wanted.delete(sentence);
}

async function add(current, asked) {
  await show(current);
  const { segments, width } = await current.segment(asked, { mask_format: "probabilities" });
  for (const segment of segments) {
    const sentence = new Sentence(segment, colorOf(count++), view, isBox ? width : null, () => remove(sentence));
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

/** Runs work that waits for the server, and shows a note or how long it took; returns whether it succeeded. */
async function wait(title, work, note = null) {
  const mine = ++turn;
  const file = input?.file;
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
    finish(note ?? `Answered in ${seconds()} s`);
    return true;
  } catch (error) {
    finish("");
    report(error, file);
    return false;
  }
}

/** Shows an error of a file next to the field that causes it. */
function report(error, file) {
  if (error.name === "AbortError") return; // Another file was chosen.
  if (!(error instanceof RequestError)) throw error;
  const name = { image: "file", video: "file", expressions: "sentence", dcrf: "dcrf" }[error.field] ?? "form";
  errors.show(name, name === "file" ? explain(error, file) : error.message.replace(/^expression /, ""));
}

/** Why the server refuses a file, in the words of a page. */
function explain({ message }, { name }) {
  const reason = message.replace(/^(image|video): /, "");
  const formats = reason.match(/^not a readable image; expected a whole (.*) file/);
  return formats ? `${name} is not a picture that can be read. Choose a ${formats[1]} file.` : `${name}: ${reason}`;
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
  count = 0;
}

async function showExamples() {
  const examples = await request("examples.json");
  byId("examples").hidden = !examples.length;
  [sample] = [...examples.flatMap(({ known }) => known), model.words ? "" : "the man in white"];
  byId("sentence").placeholder = sample;
  for (const { file, thumbnail, expressions } of examples) {
    const name = file.split("/").pop();
    let example = null;
    const run = async (sentences) => {
      if (!example || input?.file !== example) {
        const content = await (await fetch(file)).blob();
        example = new File([content], name, { type: content.type });
        await choose(example);
        if (input?.file !== example) return;
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
    else if (!(await wait("Aligning", () => refine(accepted)))) byId("dcrf").checked = false;
    byId("threshold").disabled = byId("dcrf").checked;
    redraw();
  };
  byId("moment").oninput = () => showMoment(byId("moment").value);
  byId("moment").onchange = async () => {
    if (!input) return;
    errors.clear();
    start(input.file, byId("moment").value);
    const sentences = [...wanted];
    wanted.clear();
    await (sentences.length ? mark(sentences) : wait("Reading", () => show(input), ""));
  };
  byId("save-overlay").onclick = async () => save(`${accepted.file.name.replace(/\.[^.]*$/, "")}_marked.png`, await fileOf(view.canvas));
  byId("save-answer").onclick = () =>
    wait("Marking", async () => {
      const fields = { threshold: threshold(), dcrf: byId("dcrf").checked };
      const answer = await accepted.segment(view.sentences.map(({ text }) => text), fields);
      save(`${model.output}.json`, new Blob([JSON.stringify(answer)], { type: "application/json" }));
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
byId("settings").hidden = isBox;
byId("save-answer").textContent = `Save the ${model.output} (JSON)`;
byId("dcrf-field").hidden = !model.has_dcrf;
byId("sentence").maxLength = model.limits.characters;
if (model.words) {
  byId("words").hidden = false;
  byId("words").children[0].textContent = `This model knows ${model.words.length} words`;
  byId("words").children[1].textContent = model.words.join(", ");
}
listen();
await showExamples();
document.body.dataset.ready = "true";

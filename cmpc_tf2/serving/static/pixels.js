// Maps, masks and colours of pixels. A map is a Uint8Array of levels from 0 to 255, row after row.

// Okabe and Ito's colours, distinguishable for colour-blind readers. The drawings of `predict` have the same order.
const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];
// Ten colours of matplotlib's `inferno`, from low to high. The legend in style.css has the same.
const HEAT = ["#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"];
const FILL = 0.45;
// Width in pixels of the stripes where masks overlap.
const STRIPE = 12;

// The places of the bits that are set, by number.
const PLACES = {};

const rgb = (color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));

/** The colour of the sentence with this number; colours repeat. */
export const colorOf = (number) => COLORS[number % COLORS.length];

/** A picture file in base64, decoded. */
export function decode(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none" });
}

/** A canvas with a picture, scaled to a size. */
export function canvasOf(image, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}

/** The pixels of a canvas. */
export const pixelsOf = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);

/** The levels of a greyscale PNG file in base64, at its own size or scaled. */
export async function readMap(base64, width, height) {
  const image = await decode(base64, "image/png");
  const { data } = pixelsOf(canvasOf(image, width ?? image.width, height ?? image.height));
  const levels = new Uint8Array(data.length / 4);
  for (let pixel = 0; pixel < levels.length; pixel++) levels[pixel] = data[4 * pixel];
  return { levels, width: width ?? image.width, height: height ?? image.height };
}

/** The levels of a map, stretched to 0 to 255. */
export function stretch(levels) {
  const low = levels.reduce((least, level) => Math.min(least, level));
  const high = levels.reduce((most, level) => Math.max(most, level));
  return levels.map((level) => (255 * (level - low)) / Math.max(high - low, 1));
}

/** A mask, 0 or 1 for each pixel: where probabilities, in steps of 1/256, reach a threshold. */
export function maskOf(levels, threshold) {
  return levels.map((level) => (level >= threshold * 256 ? 1 : 0));
}

/** The mask of a box, `[x, y, width, height]`: the pixels that it covers at least by half. */
export function maskOfBox([x, y, boxWidth, boxHeight], width, height) {
  const mask = new Uint8Array(width * height);
  const [left, right] = [x, x + boxWidth].map((at) => Math.min(Math.max(Math.round(at), 0), width));
  const [top, bottom] = [y, y + boxHeight].map((at) => Math.min(Math.max(Math.round(at), 0), height));
  for (let row = top; row < bottom; row++) mask.fill(1, row * width + left, row * width + right);
  return mask;
}

/**
 * Draws masks over a picture: translucent, with a contour; boxes with the contour alone. Where several overlap, their
 * colours alternate in stripes.
 *
 * @param {ImageData} image The picture; it is drawn on.
 * @param {{mask: Uint8Array, color: string, isBox: boolean}[]} layers The masks.
 */
export function drawMasks(image, layers) {
  const { width, height, data } = image;
  const line = Math.max(2, Math.round(Math.max(width, height) / 200));
  const colors = layers.map(({ color }) => rgb(color));
  for (let y = 0, pixel = 0; y < height; y++) {
    for (let x = 0; x < width; x++, pixel++) {
      let inside = 0;
      let edges = 0;
      for (const [index, { mask, isBox }] of layers.entries()) {
        if (!mask[pixel]) continue;
        if (!isBox) inside |= 1 << index;
        if (isAtEdge(mask, x, y, width, height, line)) edges |= 1 << index;
      }
      if (!inside && !edges) continue;
      const index = nthBit(edges || inside, Math.floor((x + y) / STRIPE));
      const share = edges ? 1 : FILL;
      for (let channel = 0; channel < 3; channel++) {
        const at = 4 * pixel + channel;
        data[at] += share * (colors[index][channel] - data[at]);
      }
    }
  }
}

/** The place of a bit that is set; they are counted from 0, and over again. */
function nthBit(bits, count) {
  const places = PLACES[bits] ??= [...Array(31).keys()].filter((place) => bits & (1 << place));
  return places[count % places.length];
}

function isAtEdge(mask, x, y, width, height, line) {
  const pixel = y * width + x;
  return (
    (x >= line && !mask[pixel - line]) ||
    (x + line < width && !mask[pixel + line]) ||
    (y >= line && !mask[pixel - line * width]) ||
    (y + line < height && !mask[pixel + line * width])
  );
}

/**
 * Draws a heat map over a picture, which turns grey.
 *
 * @param {ImageData} image The picture; it is drawn on.
 * @param {Uint8Array} levels The map.
 */
export function drawHeat(image, levels) {
  const colors = HEAT.map(rgb);
  const { data } = image;
  levels.forEach((level, pixel) => {
    const at = 4 * pixel;
    const grey = 0.3 * data[at] + 0.59 * data[at + 1] + 0.11 * data[at + 2];
    const place = (level / 255) * (colors.length - 1);
    const low = Math.min(Math.floor(place), colors.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const color = colors[low][channel] + (place - low) * (colors[low + 1][channel] - colors[low][channel]);
      data[at + channel] = 0.35 * grey + 0.65 * color;
    }
  });
}

/** A mask as a PNG file: white on black. */
export function maskFile({ levels, width, height }, threshold) {
  const image = new ImageData(width, height);
  maskOf(levels, threshold).forEach((marked, pixel) => image.data.set([255 * marked, 255 * marked, 255 * marked, 255], 4 * pixel));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return fileOf(canvas);
}

/** A canvas as a PNG file. */
export const fileOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

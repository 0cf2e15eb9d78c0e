// Requests to the server.

/** An answer other than success; `field` names the field of the form that is the reason, if it is one. */
export class RequestError extends Error {
  constructor(message, field) {
    super(message);
    this.field = field;
  }
}

/** The JSON of an answer. */
export async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("The server cannot be reached.");
  }
  if (response.ok) return response.json();
  throw await errorOf(response);
}

async function errorOf(response) {
  const { detail, field } = await response.json().catch(() => ({}));
  return new RequestError(detail ?? `The server failed (status ${response.status}).`, field);
}

/** A request for one input of the model. */
export class Input {
  /**
   * @param {string} name The field of the form for it: `image` or `video`.
   * @param {File} file A picture or video.
   * @param {object} fields What else describes it: for a video, the moment.
   */
  constructor(name, file, fields) {
    this.file = file;
    this.fields = { [name]: file, ...fields };
    this.controller = new AbortController();
  }

  /** The input is encoded, and the answer holds the picture that will be marked. */
  encode() {
    return this.#post("v1/encode", []);
  }

  /** The answer for sentences; `fields` are further fields of the form. */
  segment(sentences, fields) {
    return this.#post("v1/segment", [...sentences.map((sentence) => ["expressions", sentence]), ...Object.entries(fields)]);
  }

  /** Gives up what was asked. */
  cancel() {
    this.controller.abort();
  }

  #post(path, fields) {
    const body = new FormData();
    for (const [name, value] of [...Object.entries(this.fields), ...fields]) body.append(name, value);
    return request(path, { method: "POST", body, signal: this.controller.signal });
  }
}

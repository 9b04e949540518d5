// What whoever uses a model can mend: what is wrong, and what to do about it.

export class PosertError extends Error {
  constructor(what, hint = "") {
    super(hint ? `${what}\nhint: ${hint}` : what);
    Object.assign(this, { name: "PosertError", what, hint });
  }
}

// The API as the page uses it: JSON in and out, errors as sentences.
const BASE = "/streamer/api/v3/";

export class ApiError extends Error {
  constructor(status, errors) {
    super(errors.map((each) => each.title).join("; ") || "HTTP " + status);
    this.status = status;
    this.code = errors.length ? errors[0].code : "";
  }
}

export async function ask(method, what, body) {
  const options = { method, cache: "no-store", headers: {} };
  if (method !== "GET" && method !== "DELETE") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body === undefined ? {} : body);
  }
  const answer = await fetch(BASE + what, options);
  if (answer.status === 204) return null;
  let told = null;
  try {
    told = await answer.json();
  } catch {
    throw new ApiError(answer.status, [{ title: "the node gave no JSON (HTTP " + answer.status + ")" }]);
  }
  if (!answer.ok) throw new ApiError(answer.status, told.errors || []);
  return told;
}

export const get = (what) => ask("GET", what);

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return given.length ? "?" + new URLSearchParams(given) : "";
}

export function streamPath(name) {
  return "streams/" + name.split("/").map(encodeURIComponent).join("/");
}

// Requests to this server. The token, if there is one, is kept for this tab.

const TOKEN = "ld4mrec-token";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (!answer.ok) {
    const content = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, content.error || `The server answered ${answer.status}.`);
  }
  return answer;
}

export async function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  return (await ask(query ? `${path}?${query}` : path, { signal })).json();
}

export async function post(path, body) {
  const type = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", body: JSON.stringify(body), headers: type })).json();
}

// Show a picture. An <img> sends no token, so with one the picture is fetched.
export async function showPicture(img, address) {
  if (!sessionStorage.getItem(TOKEN)) {
    img.src = address;
    return;
  }
  try {
    const data = await (await ask(address)).blob();
    img.addEventListener("load", () => URL.revokeObjectURL(img.src), { once: true });
    img.src = URL.createObjectURL(data);
  } catch {
    img.dispatchEvent(new Event("error"));
  }
}

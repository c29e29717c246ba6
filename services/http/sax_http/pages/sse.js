// Reads server-sent events from a fetch() answer. EventSource cannot: it only knows GET.

/**
 * Yield the data of every event until [DONE] or the end. Comments (": ping") are skipped.
 * Throws an Error with the server's own message when the answer is not a stream.
 */
export async function* events(response) {
  if (!response.ok) {
    throw new Error(await problem(response));
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const data = line.slice(6);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/** Return the sentence of an error answer, in either of the server's two shapes. */
export async function problem(response) {
  const text = await response.text();
  try {
    const body = JSON.parse(text);
    return body.error?.message ?? body.detail ?? text;
  } catch {
    return text || `HTTP ${response.status}`;
  }
}

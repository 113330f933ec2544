// The script over HTTP, with the paths and answers of `guests/front`.

/** Which argument is a number. */
const NUMBERS = { contend: 2, audit: 1, measure: 1 };
/** The status of an error of the script. */
export const SCRIPT_ERROR = 422;

/** The function and the arguments of `/FUNCTION/ARGUMENT/...`; `:` stands for a slash. */
export function parse(path) {
  const [name, ...words] = path.slice(1).split('/');
  const args = words.map((word, index) =>
    NUMBERS[name] === index ? Number(word) : word.replaceAll(':', '/'),
  );
  return { name, args };
}

/** Status and text of a call that `run` carries out. */
export async function answer(run) {
  try {
    return [200, await run()];
  } catch (thrown) {
    // What jco throws has the error of the script in it; all else is a fault of the
    // host, or of ours.
    if (typeof thrown?.payload === 'string') return [SCRIPT_ERROR, thrown.payload];
    if (typeof thrown === 'string') return [SCRIPT_ERROR, thrown];
    return [500, String(thrown?.stack ?? thrown)];
  }
}

/** The same for hosts that answer with a `Response`. */
export async function respond(script, request) {
  const { name, args } = parse(new URL(request.url).pathname);
  const [status, text] = await answer(() => script[name](...args));
  return new Response(text, { status });
}

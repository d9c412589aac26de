// Runs plain.mjs, and cuts its first connection once there is text: node reader.mjs <base url> <token> <question>
import { ask } from './plain.mjs';

const [base, token, message] = process.argv.slice(2);
const say = (at, more = {}) => console.log(JSON.stringify({ at, ...more }));
const chunks = [];
let cut;

const realFetch = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const response = await realFetch(url, options);
  say('response', { status: response.status, last_event_id: options.headers['Last-Event-ID'] });
  if (cut) return response;
  const breaking = new TransformStream({
    start(controller) {
      cut = () => controller.error(new TypeError('network error'));
    },
  });
  return new Response(response.body.pipeThrough(breaking), response);
};

try {
  for await (const chunk of ask(`${base}/api/v1/chatbot`, token, { message })) {
    chunks.push(chunk);
    if (chunk.type === 'text-delta') cut();
  }
  say('end', { chunks });
} catch (error) {
  say('end', { chunks, error });
}

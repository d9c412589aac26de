// Drives a chat of the AI SDK, as useChat drives it, through one scenario against a live service:
//   node client.mjs <5|6|7> <scenario> <base url> <token> <question or session>
// Prints one JSON object a line: what just happened ("at"), and last what the client has in its hands ("at": "end").
import { openChat } from './chat.mjs';

const [version, scenario, base, token, argument] = process.argv.slice(2);
const api = `${base}/api/v1/chatbot`;
const say = (at, more = {}) => console.log(JSON.stringify({ at, ...more }));
const textOf = message => message.parts.map(part => part.text ?? '').join('');

const realFetch = globalThis.fetch;
let broken; // what happens in the middle of the next response
globalThis.fetch = async (url, options) => {
  const response = await realFetch(url, options);
  say('response', { status: response.status });
  if (!broken || !response.ok) return response;
  const breakIt = broken;
  broken = undefined;
  const breaking = new TransformStream({ start: controller => void untilText().then(() => breakIt(controller)) });
  return new Response(response.body.pipeThrough(breaking), response);
};

const finishes = [];
const data = [];
let chat;

function open(session) {
  chat = openChat(api, () => token, session);
  const { onFinish } = chat;
  chat.onFinish = event => {
    finishes.push({ isAbort: event.isAbort, isDisconnect: event.isDisconnect, isError: event.isError });
    onFinish(event);
  };
  chat.onData = part => data.push(part);
}

// Resolves with the newest message once `holds` holds for it.
function until(holds) {
  return new Promise(resolve => {
    const look = () => chat.lastMessage && holds(chat.lastMessage) && resolve(chat.lastMessage);
    chat['~registerMessagesCallback'](look);
    chat['~registerStatusCallback'](look);
    look();
  });
}
const untilText = () => until(message => message.role === 'assistant' && textOf(message));
const untilWhole = () => until(message => chat.status === 'ready' && message.metadata.message_id);

const scenarios = {
  async send() {
    untilText().then(({ metadata }) => say('text', { turn_id: metadata.turn_id }));
    await chat.sendMessage({ text: argument });
  },
  async conversation() {
    await chat.sendMessage({ text: argument });
    await chat.sendMessage({ text: argument });
  },
  async retry() {
    await chat.sendMessage({ text: argument });
    await chat.regenerate();
  },
  // chat.stop() closes the connection, and no more than that.
  async leave() {
    const sent = chat.sendMessage({ text: argument });
    await untilText();
    await chat.stop();
    await sent;
    say('gone');
    await chat.resumeStream();
  },
  // The network is lost, as Chromium tells it.
  async cut() {
    broken = controller => controller.error(new TypeError('network error'));
    // Version 5 would add the whole text to the part that it has.
    if (version === '5') chat.resumeStream = () => chat.regenerate();
    await chat.sendMessage({ text: argument });
    say('gone');
    await untilWhole();
  },
  // The service goes down for an update: the stream ends early, but properly.
  async drain() {
    broken = controller => controller.terminate();
    await chat.sendMessage({ text: argument });
    say('gone');
    await untilWhole();
  },
  // A page is opened while a turn runs.
  async reload() {
    const response = await realFetch(`${api}/sessions/${argument}/`, { headers: { Authorization: `Bearer ${token}` } });
    open((await response.json()).data);
    await untilWhole();
  },
  // A page is opened after a question has failed, or its answer was stopped.
  async again() {
    const response = await realFetch(`${api}/sessions/${argument}/`, { headers: { Authorization: `Bearer ${token}` } });
    open((await response.json()).data);
    await chat.regenerate();
  },
  // The answer is stopped on this very page.
  async stopped() {
    await chat.sendMessage({ text: argument });
    say('stopped');
    await chat.regenerate();
  },
};

open();
await scenarios[scenario]();
say('end', {
  status: chat.status,
  error: chat.error?.message,
  messages: chat.messages.map(message => ({ ...message, text: textOf(message) })),
  finishes,
  data,
});

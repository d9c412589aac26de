import { Chat } from '@ai-sdk/react';
import { DefaultChatTransport } from 'ai';

const textOf = message => message.parts.map(part => (part.type === 'text' ? part.text : '')).join('');

// A chat for useChat({ chat }): a new one, or one of GET sessions/{id}/, which may have a turn running.
export function openChat(api, getToken, session = { messages: [] }) {
  // Questions that ended without a whole answer: chat.regenerate() tries their turns again.
  const retryable = new Map(session.retryable_turns?.map(turn => [String(turn.question_id), turn.id]));
  const chat = new Chat({
    // An answer that is being replaced comes with the stream of its turn.
    messages: session.messages.filter(({ id }) => id !== session.active_turn?.message_id).map(({ id, role, content }) => ({
      id: String(id),
      role,
      parts: [{ type: 'text', text: content }],
      metadata: { session_id: session.id, turn_id: session.active_turn?.id },
    })),
    transport: new DefaultChatTransport({
      api: `${api}/chat/stream/`,
      headers: () => ({ Authorization: `Bearer ${getToken()}` }),
      prepareSendMessagesRequest: ({ messages, headers }) => {
        const question = messages.at(-1);
        if (retryable.has(question.id)) {
          const api_ = `${api}/turns/${retryable.get(question.id)}/retry/`;
          return { api: api_, headers: { ...headers, Accept: 'text/event-stream' }, body: {} };
        }
        return {
          // With its id as the key, a question that is sent again, chat.regenerate(), is never asked twice.
          headers: { ...headers, 'Idempotency-Key': question.id },
          body: {
            message: textOf(question),
            session_id: messages.findLast(message => message.metadata?.session_id)?.metadata.session_id,
          },
        };
      },
      prepareReconnectToStreamRequest: ({ headers }) => ({
        api: `${api}/turns/${chat.lastMessage.metadata.turn_id}/stream/`,
        headers,
      }),
    }),
    onError: error => error instanceof TypeError && setTimeout(reconnect, 500), // the network
    onFinish: ({ message, isAbort, isError }) => {
      if (message.metadata?.metadata?.status === 'stopped')
        retryable.set(chat.messages.findLast(({ role }) => role === 'user').id, message.metadata.turn_id);
      const cut = message.parts.some(part => part.state === 'streaming'); // the service closed for an update
      if (cut && !isAbort && !isError) setTimeout(reconnect, 500);
    },
  });
  const reconnect = () => (chat.lastMessage.role === 'user' ? chat.regenerate() : chat.resumeStream());
  if (session.active_turn) chat.resumeStream();
  return chat;
}

// chat.stop() only leaves, the answer is made and stored; this stops it and keeps the text so far.
export const stopAnswer = (api, getToken, chat) =>
  fetch(`${api}/turns/${chat.lastMessage.metadata.turn_id}/stop/`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${getToken()}` },
  });

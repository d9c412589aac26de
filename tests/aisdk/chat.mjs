import { Chat } from '@ai-sdk/react';
import { DefaultChatTransport } from 'ai';

const textOf = message => message.parts.map(part => (part.type === 'text' ? part.text : '')).join('');

// A chat for useChat({ chat }): a new one, or one of GET sessions/{id}/, which may have a turn running.
export function openChat(api, getToken, session = { messages: [] }) {
  const chat = new Chat({
    messages: session.messages.map(({ id, role, content }) => ({
      id: String(id),
      role,
      parts: [{ type: 'text', text: content }],
      metadata: { session_id: session.id, turn_id: session.active_turn?.id },
    })),
    transport: new DefaultChatTransport({
      api: `${api}/chat/stream/`,
      headers: () => ({ Authorization: `Bearer ${getToken()}` }),
      prepareSendMessagesRequest: ({ messages, headers }) => ({
        // With its id as the key, a question that is sent again, chat.regenerate(), is never asked twice.
        headers: { ...headers, 'Idempotency-Key': messages.at(-1).id },
        body: {
          message: textOf(messages.at(-1)),
          session_id: messages.findLast(message => message.metadata?.session_id)?.metadata.session_id,
        },
      }),
      prepareReconnectToStreamRequest: ({ headers }) => ({
        api: `${api}/turns/${chat.lastMessage.metadata.turn_id}/stream/`,
        headers,
      }),
    }),
    onError: error => error instanceof TypeError && setTimeout(reconnect, 500), // the network
    onFinish: ({ message, isAbort, isError }) => {
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

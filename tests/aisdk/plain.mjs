// The chunks of an answer, with nothing but fetch. A lost connection is taken up where it broke off.
export async function* ask(api, token, question, signal) {
  const headers = { Authorization: `Bearer ${token}` };
  let url = `${api}/chat/stream/`;
  let request = {
    method: 'POST',
    // However often it has to be sent, it is one question.
    headers: { ...headers, 'Content-Type': 'application/json', 'Idempotency-Key': crypto.randomUUID() },
    body: JSON.stringify(question),
  };
  while (true) {
    try {
      const response = await fetch(url, { ...request, signal });
      if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), await response.json());
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = '', read; !(read = await reader.read()).done; ) {
        const events = (rest + read.value).split('\n\n');
        rest = events.pop();
        for (const event of events) {
          const { id, data } = Object.fromEntries(event.split('\n').map(line => line.split(/: (.*)/s)));
          if (data === '[DONE]') return;
          if (data) yield JSON.parse(data);
          if (!id) continue;
          url = `${api}/turns/${parseInt(id)}/stream/`;
          request = { headers: { ...headers, 'Last-Event-ID': id } };
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // a TypeError is a lost connection
    }
    await new Promise(again => setTimeout(again, 500));
  }
}

import type { Completion, CompletionChunk } from '../contract/completion.ts'

/** A whole answer as the chunks of a stream, for a client that asked for one and a provider that did not give it. */
export const chunksOf = ({ id, created, model, choices, ...rest }: Omit<Completion, 'usage'>): CompletionChunk[] => {
  const chunk = (choice: CompletionChunk['choices'][number]): CompletionChunk => ({
    id,
    object: 'chat.completion.chunk',
    created,
    model,
    choices: [choice],
    ...(rest.service_tier === undefined ? {} : { service_tier: rest.service_tier }),
    ...(rest.system_fingerprint === undefined ? {} : { system_fingerprint: rest.system_fingerprint }),
  })
  return choices.flatMap(({ index, message, logprobs, finish_reason }) => {
    const { annotations: _, tool_calls: calls, refusal, ...delta } = message
    return [
      chunk({
        index,
        delta: {
          ...delta,
          ...(refusal === null ? {} : { refusal }),
          ...(calls ? { tool_calls: calls.map((call, at) => ({ index: at, ...call })) } : {}),
        },
        ...(logprobs ? { logprobs } : {}),
        finish_reason: null,
      }),
      chunk({ index, delta: {}, finish_reason }),
    ]
  })
}

/** All that a model wrote, for an estimate of its tokens. */
export const generatedText = ({ choices }: Pick<Completion, 'choices'>): string => {
  let text = ''
  for (const { message } of choices) {
    text += (message.content ?? '') + (message.refusal ?? '') + (message.reasoning_content ?? '')
    for (const call of message.tool_calls ?? []) text += call.function.name + call.function.arguments
  }
  return text
}

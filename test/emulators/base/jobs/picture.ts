import type { ServerResponse } from 'node:http'
import type { Given } from '../directives.ts'
import { sendBytes } from '../wire.ts'
import { halfOf } from './answer.ts'

type PictureDirective = 'redirect' | 'bad_image' | 'wrong_type' | 'truncated_image' | 'no_length' | 'short_image'

/** Serves a picture, or what the directives make of it; it is drawn only where it is needed. */
export async function sendPicture(
  response: ServerResponse,
  faults: Given<PictureDirective>,
  type: string,
  draw: () => Promise<Buffer> | Buffer,
): Promise<void> {
  const target = faults.get('redirect')?.join(':')
  if (target) return void (await sendBytes(response, 302, Buffer.alloc(0), { location: target }))
  const whole = faults.has('bad_image') ? Buffer.from('this is not an image') : await draw()
  const half = halfOf(whole)
  const headers = { 'content-type': faults.has('wrong_type') ? 'text/html' : type }
  if (faults.has('truncated_image')) {
    response.writeHead(200, { ...headers, 'content-length': String(whole.length) })
    response.write(half, () => response.destroy())
    return
  }
  if (faults.has('no_length')) {
    response.writeHead(200, { ...headers, 'transfer-encoding': 'chunked' })
    response.write(half)
    response.end(whole.subarray(half.length))
    return
  }
  await sendBytes(response, 200, faults.has('short_image') ? half : whole, headers)
}

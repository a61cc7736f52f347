import { PNG } from 'pngjs'
import { describe, expect, it } from 'vitest'
import { drawPicture, flatPicture, maxDrawnPixels } from '../../emulators/picture.ts'

const small = { prompt: 'a lighthouse at dawn', seed: 7, width: 320, height: 200 }

function coloursOf(picture: PNG): number {
  const seen = new Set<number>()
  for (let at = 0; at < picture.data.length; at += 4) seen.add(picture.data.readUInt32BE(at))
  return seen.size
}

describe('drawPicture', () => {
  it.each([
    [1024, 1024],
    [512, 1536],
    [1312, 736],
    [641, 333],
  ])('gives a PNG of %d by %d', (width, height) => {
    const picture = PNG.sync.read(drawPicture({ ...small, width, height }))
    expect([picture.width, picture.height]).toEqual([width, height])
    expect(coloursOf(picture)).toBeGreaterThan(500)
  })

  it('gives the same bytes for the same prompt and seed', () => {
    expect(drawPicture(small).equals(drawPicture({ ...small }))).toBe(true)
  })

  it('gives another picture for another prompt and for another seed', () => {
    expect(drawPicture(small).equals(drawPicture({ ...small, prompt: 'a forest at night' }))).toBe(false)
    expect(drawPicture(small).equals(drawPicture({ ...small, seed: 8 }))).toBe(false)
  })

  it('draws a night darker than a day', () => {
    const brightness = (prompt: string) => {
      const { data } = PNG.sync.read(drawPicture({ ...small, prompt }))
      return data.reduce((sum, value) => sum + value, 0) / data.length
    }
    expect(brightness('a house at night')).toBeLessThan(brightness('a house at noon') - 40)
  })

  it('leaves the background of a transparent picture clear', () => {
    const { data } = PNG.sync.read(drawPicture({ ...small, transparent: true }))
    expect(data[3]).toBe(0)
    expect(data.at(-1)).toBeGreaterThan(200)
  })

  it.each(['', '日本語 🌊', 'word '.repeat(2000), 'x'.repeat(5000)])('draws any text (%#)', (prompt) => {
    expect(PNG.sync.read(drawPicture({ ...small, prompt })).width).toBe(320)
  })

  it('is flat above the size that can be drawn in good time', () => {
    const picture = PNG.sync.read(drawPicture({ ...small, width: 4096, height: 1 + maxDrawnPixels / 4096 }))
    expect(coloursOf(picture)).toBe(1)
  })
})

describe('flatPicture', () => {
  it.each([false, true])('is one colour in the asked size (transparent %s)', (transparent) => {
    const bytes = flatPicture({ ...small, width: 1023, height: 700, transparent })
    const picture = PNG.sync.read(bytes)
    expect([picture.width, picture.height, coloursOf(picture)]).toEqual([1023, 700, 1])
    expect(picture.data[3]).toBe(transparent ? 128 : 255)
    expect(bytes.length).toBeLessThan(1000)
  })
})

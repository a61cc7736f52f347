import { type Canvas, type Colour, mix, type Point } from './canvas.ts'

type Random = () => number

/**
 * A skyline: the y of the land in every column. `base` is the y of its lowest part, `height` how far it rises as a
 * share of the picture; `sharp` gives peaks instead of hills.
 */
export function ridge(
  width: number,
  pictureHeight: number,
  base: number,
  height: number,
  sharp: boolean,
  random: Random,
): Float32Array {
  const skyline = new Float32Array(width)
  const octaves = sharp ? 6 : 3
  const lattice = Float32Array.from({ length: 256 }, random)
  const shift = random() * 256
  for (let x = 0; x < width; x += 1) {
    let sum = 0
    let total = 0
    for (let octave = 0; octave < octaves; octave += 1) {
      const weight = 0.5 ** octave
      const noise = latticeNoise(lattice, shift + (x / width) * 2.6 * 2 ** octave + octave * 37)
      sum += weight * (sharp ? 1 - Math.abs(noise * 2 - 1) : noise)
      total += weight
    }
    skyline[x] = base - (sum / total) * height * pictureHeight
  }
  return skyline
}

/** Stands conifers along a skyline; `where` gets a share of the width and says whether a tree may stand there. */
export function drawConifers(
  canvas: Canvas,
  random: Random,
  skyline: Float32Array,
  height: number,
  colour: Colour,
  where: (x: number) => boolean = () => true,
): void {
  let x = -height * 0.2
  while (x < canvas.width + height * 0.2) {
    const tall = height * (0.55 + random() * 0.6)
    const column = Math.min(canvas.width - 1, Math.max(0, Math.round(x)))
    if (where(x / canvas.width)) drawConifer(canvas, x, (skyline[column] as number) + height * 0.12, tall, colour)
    x += height * (0.14 + random() * 0.2)
  }
}

/** A skyline of blocks; some windows are lit when `lit`. `depth` 0 is far, 1 is near. */
export function drawCity(
  canvas: Canvas,
  random: Random,
  base: number,
  depth: number,
  colour: Colour,
  lit: boolean,
): void {
  const unit = Math.min(canvas.width, canvas.height) * 0.01 * (0.7 + depth)
  let x = -unit * 2
  while (x < canvas.width) {
    const width = unit * (6 + random() * 7)
    const top = base - unit * (10 + random() * 30) * (1.1 - depth * 0.5)
    canvas.fillRectangle(x, top, width, canvas.height - top, colour)
    if (random() < 0.3) canvas.fillRectangle(x + width / 2, top - unit * 6, unit * 0.5, unit * 6, colour)
    if (lit) drawWindows(canvas, random, x, top, width, base, unit)
    x += width + random() * unit * 1.5
  }
}

function drawWindows(
  canvas: Canvas,
  random: Random,
  left: number,
  top: number,
  width: number,
  base: number,
  unit: number,
): void {
  for (let y = top + unit * 1.5; y < base + unit * 8; y += unit * 2) {
    for (let x = left + unit; x < left + width - unit; x += unit * 1.6) {
      if (random() < 0.4) canvas.fillRectangle(x, y, unit * 0.8, unit, [255, 214, 130], 0.45 + random() * 0.5)
    }
  }
}

function drawConifer(canvas: Canvas, x: number, foot: number, height: number, colour: Colour): void {
  const tiers = 5
  const left: Point[] = []
  const right: Point[] = []
  for (let tier = 0; tier < tiers; tier += 1) {
    const lower = foot - height + ((tier + 1) / tiers) * height * 0.94
    const reach = height * 0.2 * ((tier + 1) / tiers) ** 0.85
    left.push([x - reach, lower], [x - reach * 0.5, lower - height * 0.025])
    right.push([x + reach, lower], [x + reach * 0.5, lower - height * 0.025])
  }
  canvas.fillPolygon(
    [[x, foot - height], ...right, [x, foot], ...left.reverse()].map(([px, py]) => [px, py] as Point),
    colour,
  )
  // The lit side, barely lighter than the tree.
  canvas.fillPolygon(
    [
      [x, foot - height],
      [x - height * 0.1, foot - height * 0.35],
      [x, foot - height * 0.3],
    ],
    mix(colour, [150, 190, 190], 0.14),
    0.5,
  )
}

function latticeNoise(lattice: Float32Array, at: number): number {
  const cell = Math.floor(at)
  const part = at - cell
  const from = lattice[cell & 255] as number
  const to = lattice[(cell + 1) & 255] as number
  return from + (to - from) * part * part * (3 - 2 * part)
}

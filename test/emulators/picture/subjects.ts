import { type Canvas, type Colour, mix, type Point } from './canvas.ts'
import type { Mood } from './mood.ts'

const subjects = {
  lighthouse: /lighthouse|beacon/,
  boat: /boat|ship|sail|yacht/,
  house: /house|cabin|cottage|hut|barn|home/,
  cat: /\bcats?\b|kitten/,
  tree: /tree|oak|orchard/,
} as const

export type Subject = keyof typeof subjects

/** A place in the picture: where the subject's foot stands and how long a hundredth of the picture is, in pixels. */
interface Stand {
  x: number
  y: number
  unit: number
}

/** The first subject that the prompt names. */
export function subjectOf(prompt: string): Subject | undefined {
  return (Object.keys(subjects) as Subject[]).find((name) => subjects[name].test(prompt))
}

/** Draws the subject on the ground, right of the middle. */
export function drawSubject(canvas: Canvas, subject: Subject, mood: Mood, ground: Float32Array): void {
  const unit = Math.min(canvas.width, canvas.height) / 100
  const x = canvas.width * 0.68
  const stand: Stand = { x, y: (ground[Math.floor(x)] as number) + unit * 0.8, unit }
  if (subject === 'lighthouse') drawLighthouse(canvas, stand, mood)
  if (subject === 'house') drawHouse(canvas, stand, mood)
  if (subject === 'tree') drawTree(canvas, stand, mood)
  if (subject === 'cat') drawCat(canvas, stand, mood)
  if (subject === 'boat') drawBoat(canvas, { x: canvas.width * 0.62, y: canvas.height * 0.74, unit }, mood)
}

function drawLighthouse(canvas: Canvas, { x, y, unit }: Stand, mood: Mood): void {
  const top = y - unit * 40
  const lamp = top - unit * 2.6
  for (const [farX, farY] of [
    [x - unit * 75, lamp + unit * 4],
    [x + unit * 60, lamp - unit * 3],
  ] as const) {
    for (const spread of [9, 6, 3]) {
      const beam: Point[] = [
        [x, lamp],
        [farX, farY - unit * spread],
        [farX, farY + unit * spread],
      ]
      canvas.fillPolygon(beam, [255, 244, 200], mood.night ? 0.12 : 0.09)
    }
  }
  const white = mix([250, 244, 234], mood.nearLand, mood.night ? 0.35 : 0.08)
  const red = mix([200, 62, 58], mood.nearLand, mood.night ? 0.35 : 0.1)
  const halfAt = (part: number) => unit * (2.6 + part * 2.2)
  const bands = 6
  for (let band = 0; band < bands; band += 1) {
    const from = band / bands
    const to = (band + 1) / bands
    const [upper, lower] = [top + (y - top) * from, top + (y - top) * to]
    const tower: Point[] = [
      [x - halfAt(from), upper],
      [x + halfAt(from), upper],
      [x + halfAt(to), lower],
      [x - halfAt(to), lower],
    ]
    canvas.fillPolygon(tower, band % 2 === 0 ? white : red)
  }
  const shade: Point[] = [
    [x + unit * 0.6, top],
    [x + halfAt(0), top],
    [x + halfAt(1), y],
    [x + unit * 1.6, y],
  ]
  canvas.fillPolygon(shade, mood.nearLand, 0.3)
  const dark = mix(mood.nearLand, [20, 20, 30], 0.5)
  canvas.fillRectangle(x - unit * 3.8, top - unit * 0.5, unit * 7.6, unit * 1.1, dark)
  canvas.fillRectangle(x - unit * 1.9, top - unit * 4.4, unit * 3.8, unit * 4, [255, 236, 166])
  for (const bar of [-1.9, -0.2, 1.5])
    canvas.fillRectangle(x + unit * bar, top - unit * 4.4, unit * 0.4, unit * 4, dark)
  canvas.fillPolygon(
    [
      [x - unit * 2.7, top - unit * 4.3],
      [x + unit * 2.7, top - unit * 4.3],
      [x, top - unit * 7.6],
    ],
    red,
  )
  canvas.glow(x, lamp, unit * 15, unit * 15, [255, 240, 180], 0.85)
  canvas.fillRectangle(x - unit * 0.8, y - unit * 5, unit * 1.6, unit * 4.2, dark)
  for (const part of [0.3, 0.62]) {
    canvas.fillRectangle(x - unit * 0.6, top + (y - top) * part, unit * 1.1, unit * 2, dark)
  }
}

function drawHouse(canvas: Canvas, { x, y, unit }: Stand, mood: Mood): void {
  const wall = mix([226, 206, 180], mood.nearLand, mood.night ? 0.6 : 0.25)
  const roof = mix([150, 66, 56], mood.nearLand, mood.night ? 0.6 : 0.25)
  const light: Colour = [255, 216, 130]
  canvas.fillRectangle(x + unit * 4, y - unit * 21, unit * 2.4, unit * 8, mix(roof, mood.nearLand, 0.4))
  canvas.fillRectangle(x - unit * 9, y - unit * 11, unit * 18, unit * 12, wall)
  canvas.fillPolygon(
    [
      [x - unit * 11, y - unit * 10.5],
      [x + unit * 11, y - unit * 10.5],
      [x, y - unit * 20],
    ],
    roof,
  )
  canvas.fillRectangle(x - unit * 1.6, y - unit * 6.5, unit * 3.2, unit * 7, mix(roof, mood.nearLand, 0.5))
  for (const side of [-6.6, 3.4]) {
    canvas.glow(x + unit * (side + 1.6), y - unit * 6.4, unit * 6, unit * 6, light, 0.4)
    canvas.fillRectangle(x + unit * side, y - unit * 8, unit * 3.2, unit * 3.2, light)
    canvas.fillRectangle(x + unit * (side + 1.45), y - unit * 8, unit * 0.3, unit * 3.2, roof)
    canvas.fillRectangle(x + unit * side, y - unit * 6.55, unit * 3.2, unit * 0.3, roof)
  }
  for (let puff = 0; puff < 6; puff += 1) {
    const rise = puff * 3.4
    canvas.glow(
      x + unit * (5.2 + rise * 0.5),
      y - unit * (22 + rise),
      unit * (2 + puff),
      unit * (1.4 + puff * 0.7),
      mood.cloud,
      0.5,
    )
  }
}

function drawTree(canvas: Canvas, { x, y, unit }: Stand, mood: Mood): void {
  const trunk = mix([84, 58, 44], mood.nearLand, 0.5)
  const leaf = mix([76, 128, 70], mood.nearLand, mood.night ? 0.7 : 0.35)
  const bark: Point[] = [
    [x - unit * 2.4, y],
    [x - unit * 1, y - unit * 9],
    [x - unit * 6, y - unit * 19],
    [x - unit * 0.4, y - unit * 13],
    [x + unit * 1, y - unit * 20],
    [x + unit * 1.2, y - unit * 12],
    [x + unit * 6, y - unit * 18],
    [x + unit * 1.4, y - unit * 8],
    [x + unit * 2.6, y],
  ]
  canvas.fillPolygon(bark, trunk)
  const crown: [number, number, number][] = [
    [-9, -20, 6.5],
    [9, -20, 6.5],
    [-5, -26, 7.5],
    [6, -27, 7.5],
    [0, -22, 8],
    [0, -31, 7],
    [-12, -24, 4.5],
    [12, -25, 4.5],
  ]
  for (const [left, up, radius] of crown) {
    canvas.fillEllipse(x + unit * left, y + unit * up, unit * radius, unit * radius * 0.9, leaf)
  }
  for (const [left, up, radius] of crown) {
    canvas.glow(x + unit * (left - 1.4), y + unit * (up - 1.6), unit * radius, unit * radius * 0.8, mood.glow, 0.3)
  }
}

function drawCat(canvas: Canvas, { x, y, unit }: Stand, mood: Mood): void {
  const fur = mix(mood.nearLand, [14, 12, 20], 0.6)
  for (let step = 0; step < 40; step += 1) {
    const along = step / 40
    const tailX = x + unit * (7 + Math.sin(along * 3.4) * 6)
    canvas.fillEllipse(tailX, y - unit * (1.4 + along * 17), unit * 1.2, unit * 1.2, fur)
  }
  canvas.fillEllipse(x, y - unit * 7, unit * 7.4, unit * 8.4, fur)
  canvas.fillEllipse(x - unit * 2, y - unit * 11, unit * 5.2, unit * 7, fur)
  canvas.fillEllipse(x - unit * 2.4, y - unit * 19, unit * 5.2, unit * 4.6, fur)
  for (const side of [-1, 1]) {
    const ear = x - unit * 2.4 + side * unit * 3.2
    canvas.fillPolygon(
      [
        [ear - unit * 1.9, y - unit * 20.6],
        [ear + unit * 1.9, y - unit * 20.6],
        [ear + side * unit * 1.1, y - unit * 27],
      ],
      fur,
    )
    canvas.fillEllipse(x - unit * 2.4 + side * unit * 1.9, y - unit * 19.4, unit * 1, unit * 0.75, [244, 214, 90])
    canvas.fillEllipse(x - unit * 2.4 + side * unit * 1.9, y - unit * 19.4, unit * 0.3, unit * 0.7, fur)
    canvas.fillEllipse(x - unit * 2 + side * unit * 3, y - unit * 0.4, unit * 2.4, unit * 1.3, fur)
  }
}

function drawBoat(canvas: Canvas, { x, y, unit }: Stand, mood: Mood): void {
  const hull = mix([120, 60, 52], mood.nearLand, 0.45)
  const sail = mix([250, 240, 222], mood.nearLand, mood.night ? 0.4 : 0.06)
  canvas.fillEllipse(x, y + unit * 1.2, unit * 14, unit * 1.2, mood.nearLand, 0.25)
  canvas.fillPolygon(
    [
      [x + unit * 0.6, y - unit * 26],
      [x + unit * 0.6, y - unit * 3.4],
      [x + unit * 11, y - unit * 3.4],
    ],
    sail,
  )
  canvas.fillPolygon(
    [
      [x - unit * 0.6, y - unit * 23],
      [x - unit * 0.6, y - unit * 3.4],
      [x - unit * 8, y - unit * 3.4],
    ],
    mix(sail, mood.farLand, 0.25),
  )
  canvas.fillRectangle(x - unit * 0.3, y - unit * 27, unit * 0.6, unit * 26, mood.nearLand)
  canvas.fillPolygon(
    [
      [x - unit * 11, y - unit * 2.6],
      [x + unit * 12, y - unit * 2.6],
      [x + unit * 8.6, y + unit * 1.4],
      [x - unit * 8.4, y + unit * 1.4],
    ],
    hull,
  )
}

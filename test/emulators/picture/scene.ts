import { type Canvas, type Colour, mix } from './canvas.ts'
import { drawCity, drawConifers, ridge } from './land.ts'
import { type Mood, moodOf } from './mood.ts'
import { drawSubject, subjectOf } from './subjects.ts'

type Random = () => number

/** Draws the whole scene. `prompt` is lower case; `transparent` keeps only the ground and the subject. */
export function drawScene(canvas: Canvas, prompt: string, random: Random, transparent: boolean): void {
  const mood = moodOf(prompt, random())
  const subject = subjectOf(prompt)
  const sunX = canvas.width * (0.22 + random() * 0.3)
  const horizon = canvas.height * 0.62
  if (!transparent) {
    drawSky(canvas, mood, horizon)
    if (mood.night) drawStars(canvas, random, horizon)
    drawSun(canvas, mood, sunX)
    drawClouds(canvas, mood, random)
    drawLand(canvas, prompt, mood, random, horizon, sunX)
  }
  const ground = nearGround(canvas, random, subject !== undefined && subject !== 'boat')
  canvas.fillBelow(ground, mix(mood.nearLand, mood.farLand, 0.16), mood.nearLand)
  if (/forest|jungle|wood|pine/.test(prompt)) drawForestEdge(canvas, mood, random, ground)
  if (subject) drawSubject(canvas, subject, mood, ground)
  if (!transparent && !mood.night) drawBirds(canvas, mood, random)
}

function drawSky(canvas: Canvas, mood: Mood, horizon: number): void {
  const [top, middle, low] = mood.sky
  for (let y = 0; y < canvas.height; y += 1) {
    const down = y / horizon
    canvas.fillRow(
      y,
      down < 0.55 ? mix(top, middle, smooth(down / 0.55)) : mix(middle, low, smooth((down - 0.55) / 0.45)),
    )
  }
}

function drawStars(canvas: Canvas, random: Random, horizon: number): void {
  const unit = Math.max(1, Math.min(canvas.width, canvas.height) / 900)
  const count = Math.min(500, Math.round((canvas.width * canvas.height) / 4000))
  for (let index = 0; index < count; index += 1) {
    const x = random() * canvas.width
    const y = random() ** 1.4 * horizon
    const bright = random() ** 3
    const radius = unit * (0.6 + bright * 1.6)
    if (bright > 0.6) canvas.glow(x, y, radius * 6, radius * 6, [214, 224, 255], 0.5)
    canvas.fillEllipse(x, y, radius, radius, [238, 242, 255], 0.35 + bright * 0.6)
  }
}

function drawSun(canvas: Canvas, mood: Mood, x: number): void {
  const y = canvas.height * mood.sunHeight
  const radius = Math.min(canvas.width, canvas.height) * (mood.night ? 0.05 : 0.055)
  canvas.glow(x, y, radius * 11, radius * 8, mood.glow, mood.night ? 0.4 : 0.85)
  canvas.glow(x, y, radius * 3, radius * 3, mood.sun, 0.7)
  canvas.fillEllipse(x, y, radius, radius, mood.sun)
  if (!mood.night) return
  const shade = mix(mood.sun, mood.sky[1], 0.22)
  canvas.fillEllipse(x - radius * 0.3, y - radius * 0.2, radius * 0.2, radius * 0.17, shade, 0.7)
  canvas.fillEllipse(x + radius * 0.25, y + radius * 0.3, radius * 0.26, radius * 0.22, shade, 0.7)
  canvas.fillEllipse(x + radius * 0.35, y - radius * 0.35, radius * 0.12, radius * 0.1, shade, 0.7)
}

function drawClouds(canvas: Canvas, mood: Mood, random: Random): void {
  const banks = 5 + Math.floor(random() * 4)
  for (let bank = 0; bank < banks; bank += 1) {
    const x = random() * canvas.width
    const y = canvas.height * (0.08 + random() * 0.42)
    const length = canvas.width * (0.12 + random() * 0.16)
    for (let puff = 0; puff < 6; puff += 1) {
      const along = (random() - 0.5) * 2
      const radius = length * (0.35 + random() * 0.4) * (1 - Math.abs(along) * 0.5)
      const rise = (1 - Math.abs(along)) * radius * 0.08
      canvas.glow(x + along * length, y - rise, radius, radius * 0.13, mood.cloud, mood.night ? 0.35 : 0.6)
    }
  }
}

function drawLand(canvas: Canvas, prompt: string, mood: Mood, random: Random, horizon: number, sunX: number): void {
  const haze = mix(mood.farLand, mood.sky[2], 0.45)
  if (/sea|ocean|beach|coast|lighthouse|boat|ship|lake|island|harbo|wave|river/.test(prompt)) {
    drawRange(canvas, random, horizon - canvas.height * 0.015, 0.05, haze, mood.sky[2], false)
    drawWater(canvas, mood, random, horizon, sunX)
    return
  }
  if (/city|town|street|tower|building|skyline/.test(prompt)) {
    for (const depth of [0, 0.4, 0.8]) {
      const colour = mix(haze, mood.nearLand, depth * 0.8)
      drawCity(canvas, random, canvas.height * (0.66 + depth * 0.12), depth, colour, mood.night || depth > 0.5)
    }
    return
  }
  const peaks = /mountain|peak|alps|volcano|snow|winter/.test(prompt)
  const trees = /forest|jungle|wood|pine/.test(prompt)
  const layers = trees ? 6 : 4
  for (let layer = 0; layer < layers; layer += 1) {
    const depth = layer / (layers - 1)
    const colour = mix(haze, mood.nearLand, depth * 0.72)
    const base = canvas.height * (0.56 + depth * (trees ? 0.3 : 0.2))
    const mist = mix(colour, mood.sky[2], 0.35 * (1 - depth))
    const skyline = drawRange(canvas, random, base, peaks && layer < 2 ? 0.26 : 0.09, colour, mist, peaks && layer < 2)
    if (trees && layer > 0) drawConifers(canvas, random, skyline, canvas.height * (0.05 + depth * 0.12), colour)
  }
}

function drawRange(
  canvas: Canvas,
  random: Random,
  base: number,
  height: number,
  colour: Colour,
  foot: Colour,
  sharp: boolean,
): Float32Array {
  const skyline = ridge(canvas.width, canvas.height, base, height, sharp, random)
  canvas.fillBelow(skyline, colour, foot)
  return skyline
}

function drawWater(canvas: Canvas, mood: Mood, random: Random, horizon: number, sunX: number): void {
  const { width, height } = canvas
  const surface = mix(mood.sky[2], mood.water, 0.45)
  for (let y = Math.floor(horizon); y < height; y += 1) {
    canvas.fillRow(y, mix(surface, mood.water, smooth((y - horizon) / (height - horizon))))
  }
  const light = mix(mood.sun, mood.glow, 0.4)
  for (let y = horizon + 1; y < height; y += Math.max(2, height / 260)) {
    const down = (y - horizon) / (height - horizon)
    const thickness = Math.max(0.7, (height / 420) * (0.5 + down * 1.5))
    for (let streak = 0; streak < 3; streak += 1) {
      const spread = width * (0.018 + down * 0.1)
      const x = sunX + (random() + random() - 1) * spread * 1.6
      canvas.fillEllipse(x, y, spread * (0.3 + random() * 0.7), thickness, light, 0.5 * (1 - down * 0.55))
    }
    if (random() < 0.75) {
      const long = width * (0.02 + random() * 0.07) * (0.4 + down)
      canvas.fillEllipse(random() * width, y, long, thickness, mix(surface, [255, 255, 255], 0.25), 0.3)
    }
  }
}

function nearGround(canvas: Canvas, random: Random, carriesSubject: boolean): Float32Array {
  const { width, height } = canvas
  const ground = ridge(width, height, height * 0.9, 0.03, false, random)
  if (!carriesSubject) return ground
  // A rise under the subject, so that it stands on something.
  for (let x = 0; x < width; x += 1) {
    const distance = (x / width - 0.68) / 0.3
    ground[x] = (ground[x] as number) - Math.exp(-distance * distance * 2.2) * height * 0.1
  }
  return ground
}

function drawForestEdge(canvas: Canvas, mood: Mood, random: Random, ground: Float32Array): void {
  drawConifers(canvas, random, ground, canvas.height * 0.3, mood.nearLand, (x) => Math.abs(x - 0.5) > 0.28)
}

function drawBirds(canvas: Canvas, mood: Mood, random: Random): void {
  const unit = Math.min(canvas.width, canvas.height) * 0.012
  const x = canvas.width * (0.15 + random() * 0.5)
  const y = canvas.height * (0.18 + random() * 0.14)
  for (let bird = 0; bird < 4; bird += 1) {
    const left = x + (random() - 0.5) * unit * 14
    const top = y + (random() - 0.5) * unit * 7
    const span = unit * (0.7 + random() * 0.6)
    const wings: [number, number][] = [
      [left - span, top - span * 0.4],
      [left - span * 0.4, top - span * 0.5],
      [left, top],
      [left + span * 0.4, top - span * 0.5],
      [left + span, top - span * 0.4],
      [left + span * 0.35, top - span * 0.3],
      [left, top + span * 0.25],
      [left - span * 0.35, top - span * 0.3],
    ]
    canvas.fillPolygon(wings, mood.nearLand, 0.75)
  }
}

function smooth(part: number): number {
  const share = Math.min(1, Math.max(0, part))
  return share * share * (3 - 2 * share)
}

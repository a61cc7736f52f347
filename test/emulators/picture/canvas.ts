export type Colour = readonly [red: number, green: number, blue: number]
export type Point = readonly [x: number, y: number]

/** The colour a part of the way from one to another; `part` in [0, 1]. */
export function mix(from: Colour, to: Colour, part: number): Colour {
  const share = Math.min(1, Math.max(0, part))
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share, from[2] + (to[2] - from[2]) * share]
}

const samplesPerRow = 4

/** An RGBA raster that starts transparent. Lengths are pixels, alpha is in [0, 1]; drawing outside it is ignored. */
export class Canvas {
  readonly width: number
  readonly height: number
  readonly pixels: Uint8ClampedArray

  constructor(width: number, height: number) {
    this.width = width
    this.height = height
    this.pixels = new Uint8ClampedArray(width * height * 4)
  }

  blend(x: number, y: number, colour: Colour, alpha: number): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height || alpha <= 0) return
    const pixels = this.pixels
    const at = (y * this.width + x) * 4
    const below = pixels[at + 3] as number
    if (below === 255 || alpha >= 1) {
      const share = Math.min(1, alpha)
      pixels[at] = (pixels[at] as number) * (1 - share) + colour[0] * share
      pixels[at + 1] = (pixels[at + 1] as number) * (1 - share) + colour[1] * share
      pixels[at + 2] = (pixels[at + 2] as number) * (1 - share) + colour[2] * share
      pixels[at + 3] = 255
      return
    }
    const total = alpha + (below / 255) * (1 - alpha)
    for (let channel = 0; channel < 3; channel += 1) {
      const old = pixels[at + channel] as number
      pixels[at + channel] = old + (((colour[channel] as number) - old) * alpha) / total
    }
    pixels[at + 3] = total * 255
  }

  fillRow(y: number, colour: Colour): void {
    const first = y * this.width * 4
    for (let at = first; at < first + this.width * 4; at += 4) {
      this.pixels[at] = colour[0]
      this.pixels[at + 1] = colour[1]
      this.pixels[at + 2] = colour[2]
      this.pixels[at + 3] = 255
    }
  }

  fillRectangle(left: number, top: number, width: number, height: number, colour: Colour, alpha = 1): void {
    const right = Math.min(this.width, Math.round(left + width))
    const bottom = Math.min(this.height, Math.round(top + height))
    for (let y = Math.max(0, Math.round(top)); y < bottom; y += 1) {
      for (let x = Math.max(0, Math.round(left)); x < right; x += 1) this.blend(x, y, colour, alpha)
    }
  }

  /** Fills everything under a skyline of one height per column, shading from `top` to `bottom` colour downwards. */
  fillBelow(skyline: Float32Array, top: Colour, bottom: Colour): void {
    let highest = this.height
    for (const y of skyline) highest = Math.min(highest, y)
    const first = Math.max(0, Math.floor(highest))
    for (let y = first; y < this.height; y += 1) {
      const colour = mix(top, bottom, (y - first) / Math.max(1, this.height - first))
      for (let x = 0; x < this.width; x += 1) {
        const covered = y + 1 - (skyline[x] as number)
        if (covered > 0) this.blend(x, y, colour, covered)
      }
    }
  }

  /** Fills a polygon (even-odd rule) with smooth edges. */
  fillPolygon(points: readonly Point[], colour: Colour, alpha = 1): void {
    const ys = points.map((point) => point[1])
    const first = Math.max(0, Math.floor(Math.min(...ys)))
    const last = Math.min(this.height - 1, Math.ceil(Math.max(...ys)))
    const xs = points.map((point) => point[0])
    const left = Math.max(0, Math.floor(Math.min(...xs)))
    const right = Math.min(this.width - 1, Math.ceil(Math.max(...xs)))
    if (right < left) return
    const coverage = new Float32Array(right - left + 1)
    for (let y = first; y <= last; y += 1) {
      coverage.fill(0)
      for (let sample = 0; sample < samplesPerRow; sample += 1) {
        addSpans(coverage, left, crossings(points, y + (sample + 0.5) / samplesPerRow))
      }
      for (let index = 0; index < coverage.length; index += 1) {
        const covered = coverage[index] as number
        if (covered > 0) this.blend(left + index, y, colour, alpha * Math.min(1, covered / samplesPerRow))
      }
    }
  }

  fillEllipse(centreX: number, centreY: number, radiusX: number, radiusY: number, colour: Colour, alpha = 1): void {
    const points: Point[] = []
    for (let step = 0; step < 48; step += 1) {
      const angle = (step / 48) * Math.PI * 2
      points.push([centreX + Math.cos(angle) * radiusX, centreY + Math.sin(angle) * radiusY])
    }
    this.fillPolygon(points, colour, alpha)
  }

  /** A soft elliptical light or cloud that fades to nothing at its edge. */
  glow(centreX: number, centreY: number, radiusX: number, radiusY: number, colour: Colour, strength: number): void {
    const bottom = Math.min(this.height - 1, Math.ceil(centreY + radiusY))
    const right = Math.min(this.width - 1, Math.ceil(centreX + radiusX))
    for (let y = Math.max(0, Math.floor(centreY - radiusY)); y <= bottom; y += 1) {
      const down = ((y - centreY) / radiusY) ** 2
      for (let x = Math.max(0, Math.floor(centreX - radiusX)); x <= right; x += 1) {
        const distance = down + ((x - centreX) / radiusX) ** 2
        if (distance < 1) this.blend(x, y, colour, strength * (1 - distance) * (1 - Math.sqrt(distance)))
      }
    }
  }
}

function crossings(points: readonly Point[], y: number): number[] {
  const found: number[] = []
  let previous = points[points.length - 1] as Point
  for (const point of points) {
    if (previous[1] <= y !== point[1] <= y) {
      found.push(previous[0] + ((y - previous[1]) / (point[1] - previous[1])) * (point[0] - previous[0]))
    }
    previous = point
  }
  return found.sort((one, other) => one - other)
}

function addSpans(coverage: Float32Array, offset: number, edges: number[]): void {
  for (let pair = 0; pair + 1 < edges.length; pair += 2) {
    const from = Math.max(0, (edges[pair] as number) - offset)
    const to = Math.min(coverage.length, (edges[pair + 1] as number) - offset)
    for (let x = Math.floor(from); x < to; x += 1) {
      coverage[x] = (coverage[x] as number) + Math.min(to, x + 1) - Math.max(from, x)
    }
  }
}

import type { Colour } from './canvas.ts'

/** The light and the colours of a scene. Sun height is a share of the picture from its top. */
export interface Mood {
  words: RegExp
  sky: readonly [top: Colour, middle: Colour, horizon: Colour]
  sun: Colour
  sunHeight: number
  glow: Colour
  cloud: Colour
  farLand: Colour
  nearLand: Colour
  water: Colour
  night: boolean
}

const moods: readonly Mood[] = [
  {
    words: /night|midnight|moon|star|galaxy|space|dark/,
    sky: [
      [7, 10, 32],
      [24, 34, 78],
      [70, 86, 138],
    ],
    sun: [244, 240, 220],
    sunHeight: 0.2,
    glow: [150, 168, 220],
    cloud: [88, 100, 146],
    farLand: [56, 70, 118],
    nearLand: [9, 14, 32],
    water: [20, 34, 80],
    night: true,
  },
  {
    words: /dawn|sunrise|morning|pink/,
    sky: [
      [74, 94, 158],
      [214, 142, 164],
      [255, 214, 158],
    ],
    sun: [255, 244, 214],
    sunHeight: 0.52,
    glow: [255, 206, 146],
    cloud: [250, 196, 190],
    farLand: [170, 132, 160],
    nearLand: [44, 40, 68],
    water: [96, 106, 156],
    night: false,
  },
  {
    words: /sunset|dusk|evening|golden|fire|autumn|desert|mars/,
    sky: [
      [58, 42, 96],
      [208, 84, 88],
      [255, 184, 96],
    ],
    sun: [255, 232, 170],
    sunHeight: 0.5,
    glow: [255, 176, 90],
    cloud: [232, 120, 108],
    farLand: [150, 84, 108],
    nearLand: [42, 24, 48],
    water: [110, 62, 100],
    night: false,
  },
  {
    words: /storm|rain|fog|mist|grey|gray|winter|snow/,
    sky: [
      [84, 98, 118],
      [140, 154, 170],
      [206, 212, 216],
    ],
    sun: [244, 244, 238],
    sunHeight: 0.24,
    glow: [226, 230, 232],
    cloud: [176, 186, 196],
    farLand: [150, 164, 178],
    nearLand: [40, 50, 62],
    water: [88, 108, 128],
    night: false,
  },
  {
    words: /day|noon|summer|spring|beach|sea|ocean|meadow|forest|jungle|blue/,
    sky: [
      [54, 128, 204],
      [134, 192, 228],
      [226, 240, 232],
    ],
    sun: [255, 252, 232],
    sunHeight: 0.18,
    glow: [255, 248, 214],
    cloud: [250, 252, 252],
    farLand: [134, 176, 182],
    nearLand: [26, 66, 58],
    water: [38, 112, 152],
    night: false,
  },
]

/** The mood that the prompt names first in the list's order, or one picked by chance. */
export function moodOf(prompt: string, chance: number): Mood {
  const named = moods.find((mood) => mood.words.test(prompt))
  return named ?? (moods[1 + Math.floor(chance * (moods.length - 1))] as Mood)
}

/** A tokenizer of its own, so that tests can tell usage from an estimate: four characters a token. */
export const tokensOf = (text: string): number => Math.ceil(text.length / 4)

/** Pieces of four characters at most; pairs of surrogates stay whole. */
export function piecesOf(text: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (const character of text) {
    piece += character
    if (piece.length >= 4) {
      pieces.push(piece)
      piece = ''
    }
  }
  return piece === '' ? pieces : [...pieces, piece]
}

const words = [
  'the ',
  'lamp ',
  'turns ',
  'över ',
  'grey ',
  'sea — ',
  'and ',
  'back, ',
  '灯 ',
  'as ',
  'ships 🚢 ',
  'pass. ',
]

/** That many pieces of text, the same for the same number. */
export const loremPieces = (count: number): string[] =>
  Array.from({ length: count }, (_, at) => words[at % words.length] ?? '')

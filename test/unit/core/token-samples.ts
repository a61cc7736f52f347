/** Texts of many kinds, to hold an estimate of tokens beside a tokenizer's count. The prose is the first articles of the Universal Declaration of Human Rights. */
export const TOKEN_SAMPLES: Record<string, string> = {
  English:
    'All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood. Everyone is entitled to all the rights and freedoms set forth in this Declaration, without distinction of any kind.',
  German:
    'Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen. Jeder hat Anspruch auf die in dieser Erklärung verkündeten Rechte und Freiheiten ohne irgendeinen Unterschied.',
  French:
    'Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Chacun peut se prévaloir de tous les droits et de toutes les libertés proclamés dans la présente Déclaration.',
  Spanish:
    'Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, deben comportarse fraternalmente los unos con los otros. Toda persona tiene todos los derechos y libertades proclamados en esta Declaración.',
  Polish:
    'Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.',
  Russian:
    'Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.',
  Greek:
    'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση.',
  Chinese:
    '人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享有本宣言所载的一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。',
  Japanese:
    'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。',
  Korean:
    '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.',
  Arabic:
    'يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميراً وعليهم أن يعامل بعضهم بعضاً بروح الإخاء.',
  Hindi:
    'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।',
  Thai: 'มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ',
  JSON: JSON.stringify({
    name: 'get_weather',
    arguments: { city: 'Reykjavík', unit: 'celsius', days: [1, 2, 3], at: { lat: 64.1466, lon: -21.9426 } },
    result: { temperature: -3.5, wind: 12, gusts: null, rain: false, source: 'https://weather.example/v2/points' },
  }),
  code: `export const backoffMs = (attempts: number, jitter: number): number =>\n  Math.round(\n    Math.min(LIMITS.backoffBaseMs * 2 ** Math.min(attempts - 1, 16), LIMITS.backoffMaxMs) * (0.8 + 0.4 * jitter),\n  )\n\nfor (const [name, value] of Object.entries(headers)) {\n  if (!value) continue\n  response.headers.set(name.toLowerCase(), value)\n}\n`,
  markdown: `# Results\n\n| model | tokens | cost |\n|---|---|---|\n| large | 1,024 | $0.12 |\n| small | 987 | $0.01 |\n\n- **First**: see [the notes](notes.md).\n- *Second*: run \`npm test\` and wait.\n\n\`\`\`sh\nnpm ci && npm run build\n\`\`\`\n`,
  numbers: '3.14159265358979, 2024-11-21T09:47:00Z, 1234567 89 0.001 42, 192.168.0.1:8080, 100 200 300',
}

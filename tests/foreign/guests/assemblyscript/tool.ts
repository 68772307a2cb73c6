// The program of every toolchain, in AssemblyScript with its WASI shim: see README.md.

const PIECE = 65536;

function cat(): void {
  const buffer = new ArrayBuffer(PIECE);
  while (true) {
    const size = process.stdin.read(buffer);
    if (size == 0) return;
    process.stdout.write(buffer.slice(0, size));
  }
}

/** Everything on standard input, as text. */
function read(): string {
  const pieces = new Array<string>();
  const buffer = new ArrayBuffer(PIECE);
  while (true) {
    const size = process.stdin.read(buffer);
    if (size == 0) return pieces.join("");
    pieces.push(String.UTF8.decode(buffer.slice(0, size)));
  }
}

function words(): void {
  const text = read();
  const seen = new Set<string>();
  let all = 0;
  let begin = 0;
  for (let i = 0; i <= text.length; i++) {
    if (i < text.length && text.charCodeAt(i) > 32) continue;
    if (i > begin) {
      all++;
      seen.add(text.substring(begin, i));
    }
    begin = i + 1;
  }
  process.stdout.write(`${all} words, ${seen.size} different\n`);
}

const mode = process.argv.length > 1 ? process.argv[1] : "";
if (mode == "cat") {
  cat();
} else if (mode == "words") {
  words();
} else if (mode == "lines") {
  const count = I32.parseInt(process.argv[2]);
  for (let i = 0; i < count; i++) console.log(`line ${i}`);
} else if (mode == "large-print") {
  process.stdout.write("x".repeat(200000) + "\n");
} else if (mode == "prompt") {
  process.stdout.write("name? ");
  process.stdout.write("hello " + read());
} else if (mode == "given") {
  for (let i = 2; i < process.argv.length; i++) console.log("argument " + process.argv[i]);
  const env = process.env;
  console.log("greeting " + (env.has("GREETING") ? env.get("GREETING") : ""));
} else if (mode == "exit") {
  process.exit(I32.parseInt(process.argv[2]));
} else {
  throw new Error("no mode");
}

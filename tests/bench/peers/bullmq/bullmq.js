// BullMQ beside Sluice: `node bullmq.js enqueue <n>`, then `node bullmq.js work`. Redis is on 127.0.0.1:$REDIS_PORT.
// One Worker of 50 slots; finished jobs are kept, as by default; what a job carries is what a task of ours carries.
const { randomBytes } = require('node:crypto');
const { Queue, Worker } = require('bullmq');
const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const [command, count] = process.argv.slice(2);

const noise = (length) => randomBytes(length / 2).toString('hex');

const job = (number) => ({
  name: 'task',
  data: {
    payload: noise(254), // 256 bytes with its quotes
    correlation_id: `01900000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`,
    traceparent: `00-${number.toString(16).padStart(32, '0')}-${number.toString(16).padStart(16, '0')}-01`,
  },
});

async function enqueue() {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  for (let from = 0; from < count; from += 500) {
    const jobs = Array.from({ length: Math.min(500, count - from) }, (_, i) => job(from + i));
    await queue.addBulk(jobs);
  }
  await queue.close();
}

function work() {
  const worker = new Worker('bench', async () => {}, { connection, concurrency: 50 });
  worker.on('error', (error) => console.error(error));
  process.on('SIGTERM', () => worker.close(true).then(() => process.exit(0)));
}

if (command === 'work') work();
else enqueue().then(() => process.exit(0));

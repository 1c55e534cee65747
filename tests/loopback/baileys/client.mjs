// An independent client (Baileys) on the loopback network, driven by JSON lines on stdin and stdout.
// Arguments: <number> <folder for its session>. Lines in: {to, text}. Lines out: {kind, …}.
import readline from 'node:readline'
import makeWASocket, { DisconnectReason, useMultiFileAuthState } from 'baileys'
import pino from 'pino'
import { WA_CERT_DETAILS } from './node_modules/baileys/lib/Defaults/index.js'

const [number, folder] = process.argv.slice(2)
const { LOOPBACK_NOISE_ROOT, LOOPBACK_CONTROL, LOOPBACK_WEBSOCKET } = process.env
WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(LOOPBACK_NOISE_ROOT, 'hex') // in memory only

const tell = (kind, value = {}) => process.stdout.write(JSON.stringify({ kind, ...value }) + '\n')
const scan = code =>
  fetch(`${LOOPBACK_CONTROL}/scan`, { method: 'POST', body: JSON.stringify([number, code]) })

let socket

async function connect() {
  const { state, saveCreds } = await useMultiFileAuthState(folder)
  socket = makeWASocket({
    auth: state,
    logger: pino({ level: 'silent' }),
    waWebSocketUrl: LOOPBACK_WEBSOCKET,
    syncFullHistory: false,
    shouldSyncHistoryMessage: () => false,
  })
  socket.ev.on('creds.update', saveCreds)
  socket.ev.on('connection.update', onConnection)
  socket.ev.on('messages.upsert', onMessages)
  socket.ev.on('messages.update', updates =>
    updates.forEach(u => tell('update', { id: u.key.id, status: u.update.status })))
}

async function onConnection(update) {
  if (update.qr) await scan(update.qr)
  if (update.connection === 'open') tell('open')
  if (update.connection === 'close') {
    const code = update.lastDisconnect?.error?.output?.statusCode
    tell('close', { code })
    if (code !== DisconnectReason.loggedOut) connect()
  }
}

async function onMessages({ messages }) {
  for (const { key, message } of messages) {
    const text = message?.conversation ?? message?.extendedTextMessage?.text ?? ''
    tell('message', { id: key.id, from: key.remoteJid, text })
    if (text) await socket.readMessages([key])
  }
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const { to, text } = JSON.parse(line)
  try {
    const sent = await socket.sendMessage(to, { text })
    tell('sent', { id: sent.key.id })
  } catch (error) {
    tell('error', { text: String(error) })
  }
})

await connect()

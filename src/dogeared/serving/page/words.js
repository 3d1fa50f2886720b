// Every word of the page, in each of its languages. A value in braces is filled in.

export const WORDS = {
  en: {
    skip: "Skip to content", views: "Views", ask: "Ask", run: "The run", language: "Language", colours: "Colours",
    system: "As the system", light: "Light", dark: "Dark",
    askTitle: "Ask, and see what the reader saw", question: "Question", askButton: "Ask",
    count: "Passages to read (empty: as trained)", token: "Token of this service", tokenButton: "Use it",
    runTitle: "The run, round by round", footer: "Everything on this page comes from this service.",
    asking: "Reading …", answered: "Answered: {answer}", nothing: "Not found",
    notSure: "The reader is not sure enough. It would have said: {candidate}", silent: "The reader wrote nothing.",
    confidence: "Confidence {confidence} %", needed: "; {threshold} % are needed, as dev questions set it",
    by: "Passages by {name}, {round}", roundOf: "round {round}", roundUntouched: "the untouched student",
    roundStart: "the first retrieval",
    shadeBy: "Shade words by what was looked at for:", allTokens: "whole answer",
    shadeNote: "The stronger a word is shaded, the more of the decoder's attention it got, on one scale for all passages; the words with most are underlined.",
    noTokens: "This reader marks a span and has no decoder: there is no attention to show, only the relevance of each passage.",
    noPassages: "The retriever found no passage that fits.",
    passages: "Passages", score: "Retriever", relevance: "Reader", seen: "Looked at most: {words}. Share of the passage: {share} %.",
    seenNothing: "Share of the passage: {share} %.",
    compare: "Compare with the first retriever", stopCompare: "Show the best round alone",
    before: "Before: {name}", after: "After: {name}", same: "same place as {other}", up: "{other}: place {rank}",
    only: "not in {other}'s list", beforeWord: "before", afterWord: "after",
    noBefore: "This run started from a ranking that came with its questions; there is no first retriever to ask.",
    unreachable: "The service cannot be reached. Is it still running?", again: "Too many questions wait; try again in {seconds} s.",
    wantsToken: "This service wants a token.", failed: "The service said: {message}",
    loading: "Loading …", bestIs: "The result is {best}.", improvedYes: "It finds more than both starts did on dev questions.",
    improvedNo: "No round beat both starts on dev questions, so the start was kept.", selectedBy: "Chosen by {measure}.",
    stopped: "Ended because: {reason}.", byMeasure: "dev {measure}, then dev em", allDone: "all rounds asked for are done",
    notImproved: "dev has not improved, rounds in a row: {rounds} (best is round {best})",
    agreeEnough: "retriever and reader agree on {share} of their first five passages, and no more than a round before", dev: "dev", test: "test", round: "Round", retriever: "Retriever",
    untouched: "untouched student", first: "first retrieval (round 0)", roundNumber: "round {round}", best: "result",
    reranked: "{round}, re-ranked", rerankedNote: "Re-ranked: the same passages in the re-ranker's order, which is what the reader read.",
    measures: "Measures in percent ({split})", em: "Exact match", overlap: "Agreement: overlap of the first five",
    teacher: "Is the reader worth learning from?",
    teacherNote: "On dev questions: how often a passage with the answer stands first by the retriever and by the reader, and how flat the reader's softmax is (100 % is flat).",
    firstRetrieval: "Answer first, retriever", firstTeacher: "Answer first, reader", entropy: "Entropy", said: "Verdict",
    worth: "✓ worth it", warned: "▲ {warnings}", notMeasured: "not measured", chart: "{title} by round. {values}",
  },
  zh: {
    skip: "跳到正文", views: "视图", ask: "提问", run: "训练过程", language: "语言", colours: "配色",
    system: "跟随系统", light: "浅色", dark: "深色",
    askTitle: "提问，并查看阅读器看了什么", question: "问题", askButton: "提问",
    count: "阅读的段落数（留空：与训练时相同）", token: "本服务的令牌", tokenButton: "使用",
    runTitle: "逐轮训练过程", footer: "本页的全部内容均来自本服务。",
    asking: "正在阅读……", answered: "答案：{answer}", nothing: "未找到",
    notSure: "阅读器把握不足。它本来会回答：{candidate}", silent: "阅读器没有写出任何内容。",
    confidence: "置信度 {confidence} %", needed: "；根据开发集问题，至少需要 {threshold} %",
    by: "段落来自 {name}，{round}", roundOf: "第 {round} 轮", roundUntouched: "未训练的检索器",
    roundStart: "首次检索",
    shadeBy: "按生成以下词元时的注意力为词着色：", allTokens: "整个答案",
    shadeNote: "着色越明显，解码器对该词的注意力越多（所有段落使用同一尺度）；注意力最多的词带下划线。",
    noTokens: "该阅读器只标出片段，没有解码器：没有注意力可显示，只有各段落的相关度。",
    noPassages: "检索器没有找到合适的段落。",
    passages: "段落", score: "检索器", relevance: "阅读器", seen: "最受关注：{words}。该段落所占份额：{share} %。",
    seenNothing: "该段落所占份额：{share} %。",
    compare: "与最初的检索器比较", stopCompare: "只显示最佳轮次",
    before: "之前：{name}", after: "之后：{name}", same: "与{other}位置相同", up: "{other}：第 {rank} 位",
    only: "不在{other}的列表中", beforeWord: "之前", afterWord: "之后",
    noBefore: "本次训练从随问题提供的排序开始；没有最初的检索器可供比较。",
    unreachable: "无法连接服务。它还在运行吗？", again: "等待的问题太多；请在 {seconds} 秒后重试。",
    wantsToken: "本服务需要令牌。", failed: "服务返回：{message}",
    loading: "正在加载……", bestIs: "结果是{best}。", improvedYes: "在开发集问题上，它比两个起点找到的更多。",
    improvedNo: "在开发集问题上没有任何一轮超过两个起点，因此保留起点。", selectedBy: "选择依据：{measure}。",
    stopped: "结束原因：{reason}。", byMeasure: "开发集 {measure}，其次是开发集 em", allDone: "要求的轮次已全部完成",
    notImproved: "开发集已有 {rounds} 轮没有提高（最佳为第 {best} 轮）",
    agreeEnough: "检索器与阅读器的前五段重合度为 {share}，且不再高于上一轮", dev: "开发集", test: "测试集", round: "轮次", retriever: "检索器",
    untouched: "未训练的检索器", first: "首次检索（第 0 轮）", roundNumber: "第 {round} 轮", best: "结果",
    reranked: "{round}，重排后", rerankedNote: "重排后：同样的段落按重排模型的顺序排列，阅读器读的就是这个顺序。",
    measures: "指标（百分比，{split}）", em: "精确匹配", overlap: "一致性：前五段的重合",
    teacher: "阅读器值得学习吗？",
    teacherNote: "在开发集问题上：检索器和阅读器各自把含答案的段落排在第一位的比例，以及阅读器 softmax 的平坦程度（100 % 为完全平坦）。",
    firstRetrieval: "答案居首，检索器", firstTeacher: "答案居首，阅读器", entropy: "熵", said: "结论",
    worth: "✓ 值得", warned: "▲ {warnings}", notMeasured: "未测量", chart: "{title}，逐轮。{values}",
  },
};

let language = "en";

/** Speak a language from now on. */
export function speak(name) {
  language = name in WORDS ? name : "en";
}

/** Which language is spoken. */
export function spoken() {
  return language;
}

/** Say something: the words of a key, with what stands in braces filled in. */
export function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
